"""Where commands talk to, from options and the environment."""

import os

from cli.console import CliFailure, usage

DEFAULT_URL = "http://127.0.0.1:8080"


def required(name: str, purpose: str) -> str:
    """Return an environment variable; raise `CliFailure` that says what it is for."""
    value = os.environ.get(name, "").strip()
    if not value:
        raise _missing(name, purpose)
    return value


def database_url() -> str:
    """Return PostgreSQL's address for administration."""
    return required("DATABASE_URL", "PostgreSQL, as postgresql://user:password@host/database")


def amqp_url() -> str:
    """Return the broker's address."""
    return required("AMQP_URL", "RabbitMQ, as amqp://user:password@host/vhost")


def management_url() -> str:
    """Return the broker's management API; guessed from `AMQP_URL` where it is not set."""
    from cli.stack import admin

    return os.environ.get("RABBITMQ_MANAGEMENT_URL", "").strip() or admin.guessed_management_url(amqp_url())


def vhost() -> str:
    """Return the virtual host that `AMQP_URL` leads to."""
    from urllib.parse import unquote, urlsplit

    return unquote(urlsplit(amqp_url()).path.removeprefix("/")) or "/"


def _missing(name: str, purpose: str) -> CliFailure:
    return usage(
        f"{name} is not set: {purpose}",
        next_step=f"export {name}, or start local servers with: reinstate stack up --env",
        code="cli.setting_missing",
    )
