"""Where commands talk to, from options and the environment."""

import os
from pathlib import Path

from cli.console import usage

DEFAULT_URL = "http://127.0.0.1:8080"


_LOCAL_SERVERS = 'for local servers: eval "$(reinstate stack up --env)"'


def required(name: str, purpose: str, next_step: str = _LOCAL_SERVERS) -> str:
    """Return an environment variable; raise `CliFailure` that says what it is for."""
    value = _from_file(name) or os.environ.get(name, "").strip()
    if not value:
        raise usage(f"{name} is not set ({purpose})", next_step=next_step, code="cli.setting_missing")
    return value


def _from_file(name: str) -> str:
    """Return what the file holds that `<name>_FILE` names, as for services."""
    path = os.environ.get(f"{name}_FILE", "").strip()
    try:
        return Path(path).read_text(encoding="utf-8").strip() if path else ""
    except (OSError, UnicodeDecodeError):
        raise usage(f"{name}_FILE cannot be read", code="cli.setting_invalid") from None


def database_url() -> str:
    """Return PostgreSQL's address for administration."""
    return required("DATABASE_URL", "PostgreSQL: postgresql://user:password@host/database")


def given_password(service: str) -> str | None:
    """Return the password that a service's role of the database is to have, where one is given."""
    return os.environ.get(_PASSWORD_OF[service], "") or None


_PASSWORD_OF = {
    "dispatcher": "REINSTATE_DB_PASSWORD_DISPATCHER",
    "restore-worker": "REINSTATE_DB_PASSWORD_RESTORE_WORKER",
    "bulk-worker": "REINSTATE_DB_PASSWORD_BULK_WORKER",
    "notifier": "REINSTATE_DB_PASSWORD_NOTIFIER",
    "operator": "REINSTATE_DB_PASSWORD_OPERATOR",
}


def amqp_url() -> str:
    """Return the broker's address."""
    return required("AMQP_URL", "RabbitMQ: amqp://user:password@host/vhost")


def management_url() -> str:
    """Return the broker's management API; guessed from `AMQP_URL` where it is not set."""
    from cli.stack import admin

    return os.environ.get("RABBITMQ_MANAGEMENT_URL", "").strip() or admin.guessed_management_url(amqp_url())


def key_encryption_keys() -> str:
    """Return which keys wrap the tenants' data keys."""
    return required("KEY_ENCRYPTION_KEYS", "keys that wrap the tenants' data keys: ID=file:PATH")


def vhost() -> str:
    """Return the virtual host that `AMQP_URL` leads to."""
    from urllib.parse import unquote, urlsplit

    return unquote(urlsplit(amqp_url()).path.removeprefix("/")) or "/"
