"""Settings of the console, from the environment."""

from datetime import timedelta
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from services.dispatcher.console.cookies import Cookies, is_loopback
from services.dispatcher.oidc.settings import SigningInSettings
from shared.domain.sessions import SessionLimits
from shared.runtime.settings import Mode


class ConsoleSettings(SigningInSettings):
    """Where people reach the console, and how long they stay signed in."""

    console_url: str | None = Field(
        default=None,
        description=(
            "where browsers reach the console, as https://reinstate.example.com: forms from elsewhere are refused;"
            " unset, the request's Host decides"
        ),
    )
    console_session_idle: float = Field(
        default=1800, ge=120, le=86400, description="seconds without a request after which a session ends"
    )
    console_session_age: float = Field(
        default=43200, ge=300, le=604800, description="seconds after which a session ends, however busy it is"
    )

    @field_validator("console_url", mode="before")
    @classmethod
    def _empty_means_unset(cls, value: object) -> object:
        return value.strip().rstrip("/") or None if isinstance(value, str) else value

    @field_validator("console_url")
    @classmethod
    def _is_an_origin(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not _is_origin(value, info.data.get("reinstate_mode", Mode.PRODUCTION)):
            raise ValueError("must be https://host; http only where REINSTATE_MODE is development, on this machine")
        return value

    @property
    def session_limits(self) -> SessionLimits:
        """How long a session lasts."""
        return SessionLimits(timedelta(seconds=self.console_session_idle), timedelta(seconds=self.console_session_age))

    @property
    def cookies(self) -> Cookies:
        """How its cookie is set."""
        return Cookies(timedelta(seconds=self.console_session_age), self.reinstate_mode is Mode.DEVELOPMENT)


def _is_origin(url: str, mode: Mode) -> bool:
    """Tell whether it is nothing but a scheme and a host, as browsers name where a form comes from."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or url != f"{parts.scheme}://{parts.netloc}".lower() or parts.username is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and mode is Mode.DEVELOPMENT and is_loopback(host))
