"""What the settings of all services have in common: read from the environment, checked before anything starts."""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, FilePath, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Mode(StrEnum):
    """What a process is for. Production is what nobody has to ask for."""

    PRODUCTION = "production"
    DEVELOPMENT = "development"


def address(*schemes: str) -> AfterValidator:
    """Accept an address with one of these schemes; the error never shows the address, which may hold a password."""

    def check(value: SecretStr) -> SecretStr:
        scheme, separator, rest = value.get_secret_value().partition("://")
        if not separator or scheme not in schemes or not rest:
            raise ValueError(f"must be an address that begins with {' or '.join(f'{s}://' for s in schemes)}")
        return value

    return AfterValidator(check)


class ServiceSettings(BaseSettings):
    """Base of every service's settings. Each field has a description: the reference page is printed from them.

    An environment variable is the field's name in capitals: `AMQP_URL`. A secret has no default.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, validate_default=True)

    reinstate_mode: Mode = Field(
        default=Mode.PRODUCTION,
        description="production, or development: only there keys may come over http, and `reinstate dev-issuer` runs",
    )
    amqp_url: Annotated[SecretStr, address("amqp", "amqps")] = Field(
        description="RabbitMQ, with user, password and vhost: amqp://user:password@host:5672/vhost"
    )
    database_url: Annotated[SecretStr, address("postgresql", "postgresql+asyncpg")] = Field(
        description="PostgreSQL, with user and password: postgresql://user:password@host:5432/database"
    )
    amqp_url_file: FilePath | None = Field(
        default=None,
        description="holds AMQP_URL instead; its password is read again for each connection, so it can be rotated",
    )
    database_url_file: FilePath | None = Field(
        default=None,
        description="holds DATABASE_URL instead; its password is read again for each connection, so it can be rotated",
    )
    amqp_ca_file: FilePath | None = Field(
        default=None,
        description="of amqps, and of https to the management API: the authorities to trust, as PEM; else the system's",
    )
    amqp_certificate_file: FilePath | None = Field(
        default=None, description="of amqps: our own certificate with its chain, as PEM, for a broker that asks for one"
    )
    amqp_private_key_file: FilePath | None = Field(
        default=None, description="of amqps: the certificate's private key, as PEM, where it is not in the same file"
    )
    rabbitmq_management_url: Annotated[SecretStr, address("http", "https")] | None = Field(
        default=None,
        description="RabbitMQ's management API, with user and password; needed to apply or check the topology",
    )
    outbox_age_limit: float = Field(
        default=30, gt=0, le=86400, description="age of an unsent message from which on readiness says that it waits"
    )
    consumers_lost_limit: float = Field(
        default=30,
        gt=0,
        le=86400,
        description="after which a process without its consumers ends, for a fresh one, if the broker answers",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="the least severe of our own log lines; libraries are always at WARNING"
    )

    @model_validator(mode="before")
    @classmethod
    def _read_files(cls, values: Any) -> Any:  # noqa: ANN401  whatever was given
        """Have a file stand for the address in it. One that cannot be read leaves the address missing."""
        if not isinstance(values, dict):
            return values
        files = {name: values.get(f"{name}_file") for name in ("amqp_url", "database_url")}
        return {**values, **{name: text for name, file in files.items() if file and (text := _text(file))}}

    def current_amqp_url(self) -> str:
        """Return the broker's address as it is now; what was read last while the file is away."""
        return _text(self.amqp_url_file) or self.amqp_url.get_secret_value()

    def current_database_url(self) -> str:
        """Return the database's address as it is now; what was read last while the file is away."""
        return _text(self.database_url_file) or self.database_url.get_secret_value()


def _text(file: Path | str | None) -> str:
    """Return the only line of a file; nothing when there is none that can be read."""
    try:
        return Path(file).read_text(encoding="utf-8").strip() if file else ""
    except (OSError, UnicodeDecodeError):
        return ""


class ConsumerSettings(ServiceSettings):
    """What the services without an HTTP interface of their own can be told."""

    health_port: int = Field(
        default=0, ge=0, le=65535, description="serves /healthz, /readyz and /metrics; 0 serves nothing"
    )
    health_host: str = Field(default="127.0.0.1", description="where they are served; 0.0.0.0 in a container")
    broker_start_limit: float = Field(
        default=300, gt=0, le=86400, description="how long a start waits for an absent broker before it gives up"
    )


class PreviewSettings(ServiceSettings):
    """How long a preview may be relied on: the same for who takes an execution and who carries it out."""

    preview_max_age_hours: float = Field(
        default=24, gt=0, le=8760, description="age at which a preview is stale and is not executed any more"
    )

    @property
    def preview_age(self) -> timedelta:
        """The same as a duration."""
        return timedelta(hours=self.preview_max_age_hours)
