"""Every environment variable that Reinstate reads, as a page and as `.env.example`.

`python -m cli.settings_reference > docs/reference/settings.md` and, with `--env`, `> .env.example`.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic.fields import FieldInfo

from services.bulk_worker.settings import BulkWorkerSettings
from services.dispatcher.console.settings import ConsoleSettings
from services.dispatcher.oidc.settings import SigningInSettings
from services.dispatcher.settings import DispatcherSettings
from services.dispatcher.signature_settings import SignedCommandSettings
from services.notifier.settings import NotifierSettings
from services.restore_worker.settings import RestoreWorkerSettings
from shared.engine.worker import WorkerSettings
from shared.keys.settings import KeySettings
from shared.persistence.walls.roles import LOGINS
from shared.runtime.settings import ConsumerSettings, PreviewSettings, ServiceSettings


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable. `default` is empty where it has to be given, or where the text says what happens."""

    name: str
    description: str
    default: str = ""
    bounds: str = ""
    is_required: bool = False
    example: str = ""


SERVICES: dict[str, type[ServiceSettings]] = {
    "Every service": ServiceSettings,
    "Dispatcher and both workers": KeySettings,
    "Workers and notifier": ConsumerSettings,
    "Both workers": WorkerSettings,
    "Dispatcher and restore worker": PreviewSettings,
    "Dispatcher: signing in": SigningInSettings,
    "Dispatcher: signed commands": SignedCommandSettings,
    "Dispatcher: the console": ConsoleSettings,
    "Dispatcher": DispatcherSettings,
    "Restore worker": RestoreWorkerSettings,
    "Bulk worker": BulkWorkerSettings,
    "Notifier": NotifierSettings,
}
_EXAMPLES = {
    "AMQP_URL": "amqp://user:password@127.0.0.1:5672/%2F",
    "DATABASE_URL": "postgresql://user:password@127.0.0.1:5432/reinstate",
    "RABBITMQ_MANAGEMENT_URL": "http://user:password@127.0.0.1:15672",
    "KEY_ENCRYPTION_KEYS": "2026-11=file:/run/secrets/key-encryption-key",
}
# What is read without a settings class: by the command line and by the local stack.
_OTHERS = {
    "Command line": (
        Variable("REINSTATE_URL", "the dispatcher that commands talk to", "http://127.0.0.1:8080"),
        Variable(
            "REINSTATE_TOKEN", "who is asking: the token that `reinstate user add` printed; never on a command line"
        ),
        Variable(
            "REINSTATE_SIGNING_KEY",
            "what `reinstate publish` signs with, unless --key-file is given: the `signing_key` that"
            " `reinstate upstream add` printed",
        ),
        Variable("REINSTATE_TENANT", "the tenant's id, instead of --tenant"),
        Variable(
            "REINSTATE_BROKER_PASSWORDS",
            "`reinstate broker users`: passwords to set instead of generated ones, a JSON object by service",
        ),
        Variable("REINSTATE_HOST", "`reinstate serve dispatcher`: the address to listen on", "127.0.0.1"),
        Variable("REINSTATE_PORT", "`reinstate serve dispatcher`: its port", "8080"),
        *(
            Variable(
                f"REINSTATE_DB_PASSWORD_{name.upper().replace('-', '_')}",
                f"`reinstate db roles`: the password of the database's role of the {name}; else one is made up",
            )
            for name in LOGINS
        ),
    ),
    "Local stack (tests and demo)": (
        Variable("REINSTATE_STACK", "where servers come from: auto, private, containers or external", "auto"),
        Variable("REINSTATE_STACK_DIR", "the folder of their data; else a folder of this user in the temporary folder"),
        Variable("REINSTATE_RABBITMQ_IMAGE", "the broker's image, where containers are used", "rabbitmq:4-management"),
        Variable("REINSTATE_POSTGRES_IMAGE", "the database's image, where containers are used", "postgres:18"),
    ),
}


def sections() -> dict[str, tuple[Variable, ...]]:
    """Return every variable under the heading of who reads it; what is inherited stands with the base only."""
    found: dict[str, tuple[Variable, ...]] = {}
    for title, settings in SERVICES.items():
        inherited = {name for base in settings.__mro__[1:] for name in getattr(base, "model_fields", {})}
        own = {name: field for name, field in settings.model_fields.items() if name not in inherited}
        found[title] = tuple(_variable(name, field) for name, field in own.items())
    return found | _OTHERS


def page() -> str:
    """Return the reference page; a test compares it with the committed one."""
    return "\n".join(_page()) + "\n"


def example() -> str:
    """Return `.env.example`; a test compares it with the committed one."""
    return "\n".join(_example()) + "\n"


def _variable(name: str, field: FieldInfo) -> Variable:
    is_required = field.is_required()
    default = "" if is_required or field.default is None else f"{field.default}"
    return Variable(
        name.upper(), field.description or "", default, _bounds(field), is_required, _EXAMPLES.get(name.upper(), "")
    )


def _bounds(field: FieldInfo) -> str:
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    given = ((text, getattr(one, name, None)) for one in field.metadata for name, text in words.items())
    return ", ".join(f"{text} {value}" for text, value in given if value is not None)


def _page() -> Iterator[str]:
    yield "# Settings"
    yield ""
    yield "Generated from the settings classes; do not edit. To write it again:"
    yield "`python -m cli.settings_reference > docs/reference/settings.md` and"
    yield "`python -m cli.settings_reference --env > .env.example`."
    yield ""
    yield "Settings come from environment variables and are checked before anything starts; a wrong one is named"
    yield "without its value. Times are seconds, sizes are bytes. What has no default and is not required is not used."
    for title, variables in sections().items():
        yield f"\n## {title}\n"
        if not variables:
            yield "Nothing of its own."
            continue
        yield "| variable | default | bounds | what it does |"
        yield "| --- | --- | --- | --- |"
        for one in variables:
            default = "**required**" if one.is_required else f"`{one.default}`" if one.default else ""
            yield f"| `{one.name}` | {default} | {one.bounds} | {one.description} |"


def _example() -> Iterator[str]:
    yield "# Every setting of Reinstate with its default. No secret has one. Bounds: docs/reference/settings.md."
    yield "# Nothing reads this file by itself: copy it to .env, uncomment what you change, then"
    yield "#   set -a; . ./.env; set +a"
    yield "# Generated: python -m cli.settings_reference --env > .env.example"
    for title, variables in sections().items():
        if not variables:
            continue
        yield f"\n# --- {title} ---\n"
        for one in variables:
            yield f"# {one.description}"
            yield f"#{one.name}={one.default or one.example}"


if __name__ == "__main__":
    sys.stdout.write(example() if "--env" in sys.argv[1:] else page())
