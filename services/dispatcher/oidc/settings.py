"""Settings of signing in with an OpenID Connect issuer, from the environment."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from shared.runtime.settings import Mode, PreviewSettings

# Signatures that whoever can check them cannot make. Never `none`, and nothing with a shared secret (HS256, …).
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519")


@dataclass(frozen=True, slots=True)
class Trust:
    """Which tokens are good: whose, for whom, signed how, and how old at most. Times in seconds."""

    issuer: str
    audiences: tuple[str, ...]
    algorithms: frozenset[str]
    tolerance: int
    max_age: int
    user_claim: str


@dataclass(frozen=True, slots=True)
class KeyBounds:
    """How long the issuer's keys are relied on, and how often it is asked for them. In seconds."""

    refresh: float  # at least between two questions, whatever comes in
    age: float  # from then on they are asked for anew
    stale: float  # for so long after that they are still relied on, if the issuer does not answer


class SigningInSettings(PreviewSettings):
    """Who may sign in beside those who have a service token. Without an issuer nobody else may."""

    oidc_issuer: str | None = Field(
        default=None, description="the OpenID Connect issuer, exactly as it names itself; https in production"
    )
    oidc_audience: str | None = Field(
        default=None,
        description="the name of this API there, which a sign-in must be meant for; several are parted by commas",
    )
    oidc_jwks_url: str | None = Field(
        default=None, description="address of the issuer's keys; else the issuer's discovery document names it"
    )
    oidc_algorithms: str = Field(
        default="RS256,PS256,ES256", description=f"accepted signatures, parted by commas; of {', '.join(ALGORITHMS)}"
    )
    oidc_user_claim: str = Field(
        default="sub",
        pattern=r"^[A-Za-z0-9_:./-]{1,100}$",
        description="claim that names the person at the issuer for good; `oid` for Microsoft Entra ID",
    )
    oidc_bind_by_email: bool = Field(
        default=False, description="whether the first sign-in binds a user by a verified e-mail claim; else only a link"
    )
    oidc_tolerance: int = Field(default=60, ge=0, le=300, description="how far the issuer's clock may be off")
    oidc_max_age: int = Field(
        default=86400, ge=60, le=604800, description="age from which on a sign-in is refused, whatever end it names"
    )
    oidc_keys_refresh: float = Field(
        default=60, ge=1, le=3600, description="least time between two questions for keys, whatever key a caller names"
    )
    oidc_keys_age: float = Field(
        default=3600,
        ge=60,
        le=86400,
        description="after which keys are asked for anew; so long a withdrawn one may work",
    )
    oidc_keys_stale: float = Field(
        default=43200, ge=0, le=604800, description="for so long more they are relied on while the issuer is away"
    )
    oidc_timeout: float = Field(default=5, gt=0, le=30, description="of one question to the issuer, answer included")

    @field_validator("oidc_issuer", "oidc_audience", "oidc_jwks_url", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value.strip() or None if isinstance(value, str) else value

    @field_validator("oidc_issuer", "oidc_jwks_url")
    @classmethod
    def _is_an_address(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        if info.field_name == "oidc_jwks_url" and not info.data.get("oidc_issuer"):
            raise ValueError("means nothing without OIDC_ISSUER")
        if not is_safe_address(value, info.data.get("reinstate_mode", Mode.PRODUCTION)):
            raise ValueError("must be an https address; http only where REINSTATE_MODE is development")
        return value

    @field_validator("oidc_audience")
    @classmethod
    def _goes_with_an_issuer(cls, value: str | None, info: ValidationInfo) -> str | None:
        """An issuer whose tokens for anybody else are good here, too, would let anybody else's callers in."""
        if (value is None or not words(value)) != (info.data.get("oidc_issuer") is None):
            raise ValueError("OIDC_ISSUER and OIDC_AUDIENCE are given together")
        return value

    @field_validator("oidc_algorithms")
    @classmethod
    def _are_asymmetric(cls, value: str) -> str:
        if not words(value) or not set(words(value)) <= set(ALGORITHMS):
            raise ValueError(f"must be of {', '.join(ALGORITHMS)}")
        return value

    @property
    def trust(self) -> Trust | None:
        """Which tokens are good; None where nobody signs in with an issuer."""
        if self.oidc_issuer is None:
            return None
        return Trust(
            issuer=self.oidc_issuer,
            audiences=words(self.oidc_audience or ""),
            algorithms=frozenset(words(self.oidc_algorithms)),
            tolerance=self.oidc_tolerance,
            max_age=self.oidc_max_age,
            user_claim=self.oidc_user_claim,
        )

    @property
    def key_bounds(self) -> KeyBounds:
        """How long keys are relied on."""
        return KeyBounds(self.oidc_keys_refresh, self.oidc_keys_age, self.oidc_keys_stale)


def words(text: str) -> tuple[str, ...]:
    """Return the parts between commas, without empty ones."""
    return tuple(word for part in text.split(",") if (word := part.strip()))


def is_safe_address(address: str, mode: Mode) -> bool:
    """Tell whether keys may be asked for there: https, or http in development; no login, no fragment.

    An address by number must not be one that means a link, a group or nobody: those are ways to a cloud's own secrets.
    """
    try:
        parts = urlsplit(address)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return False
    is_https = parts.scheme == "https" or (parts.scheme == "http" and mode is Mode.DEVELOPMENT)
    if not is_https or not host or parts.username is not None or parts.fragment or not address.isprintable():
        return False
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return True
    return not (number.is_link_local or number.is_multicast or number.is_unspecified)
