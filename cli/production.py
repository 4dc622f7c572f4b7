"""What must not be so in production: one finding each, with its remedy. Pure judgements on what was gathered."""

import base64
import binascii
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy.exc import DBAPIError

from cli import settings
from cli.console import CliFailure
from cli.doctor import Finding, Health
from shared.domain.errors import ReinstateError
from shared.messaging.management import TopologyError, call, management_client
from shared.persistence.database import create_engine
from shared.persistence.standing import DatabaseRole, SqlStanding

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
GRAPH_CLOUDS = frozenset(
    {"graph.microsoft.com", "graph.microsoft.us", "dod-graph.microsoft.us", "microsoftgraph.chinacloudapi.cn"}
)
# What everybody knows: from manuals, examples, and our own.
KNOWN_PASSWORDS = frozenset(
    {"", "guest", "reinstate", "password", "postgres", "rabbitmq", "admin", "changeme", "secret", "test", "dev"}
)
DEVELOPMENT_KEYS = ("dev", "demo", "test", "example")
LEAST_DIFFERENT_BYTES = 12  # of a random key of 32; fewer are as good as impossible


@dataclass(frozen=True, slots=True)
class BrokerUser:
    """A user of the broker, by name and tags."""

    name: str
    tags: frozenset[str]


async def examine(environment: Mapping[str, str] = os.environ) -> Sequence[Finding]:
    """Judge the settings of this process, and ask the servers that they name. Raises nothing."""
    found = [*judge_settings(environment)]
    for ask in (_broker_users, _database):
        found += await ask()
    return found or [Finding("production", Health.OK, "nothing of development is left")]


def judge_settings(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Judge what needs no server."""
    yield from judge_addresses(
        _given("AMQP_URL", environment),
        _given("RABBITMQ_MANAGEMENT_URL", environment),
        _given("DATABASE_URL", environment),
    )
    yield from judge_signing_in(environment)
    yield from judge_keys(environment.get("KEY_ENCRYPTION_KEYS", ""), environment)


def judge_addresses(amqp_url: str, management_url: str, database_url: str) -> Iterator[Finding]:
    """Judge how the servers are reached, and by which passwords."""
    if amqp_url and urlsplit(amqp_url).scheme != "amqps":
        yield _wrong("plain amqp", "AMQP_URL is not encrypted", "use amqps:// and AMQP_CA_FILE")
    if management_url and urlsplit(management_url).scheme != "https":
        yield _wrong("plain http", "RABBITMQ_MANAGEMENT_URL is not encrypted", "use https://")
    for name, url in (("AMQP_URL", amqp_url), ("RABBITMQ_MANAGEMENT_URL", management_url)):
        if url and (unquote(urlsplit(url).username or "guest")) == "guest":
            yield _wrong("guest", f"{name} signs in as guest", "reinstate broker users")
    addresses = (("AMQP_URL", amqp_url), ("RABBITMQ_MANAGEMENT_URL", management_url), ("DATABASE_URL", database_url))
    for name, url in addresses:
        parts = urlsplit(url)
        password = unquote(parts.password or "")
        if url and (password.lower() in KNOWN_PASSWORDS or password == unquote(parts.username or "")):
            yield _wrong(
                "default password",
                f"the password in {name} is one that everybody knows",
                "docs/how-to/rotate-a-secret.md",
            )


def judge_signing_in(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Judge whose sign-ins are believed."""
    if environment.get("REINSTATE_MODE", "").strip().lower() == "development":
        yield _wrong("mode", "REINSTATE_MODE is development", "leave it unset, or say production")
    for name in ("OIDC_ISSUER", "OIDC_JWKS_URL"):
        parts = urlsplit(environment.get(name, "").strip())
        if parts.netloc and (parts.scheme != "https" or parts.hostname in LOOPBACK):
            yield _wrong("issuer", f"{name} is a development issuer", "docs/how-to/sign-people-in.md")


def judge_keys(named: str, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Judge the key-encryption keys, `ID=REFERENCE` parted by commas: an example's name, or bytes of no chance."""
    for one in filter(None, (part.strip() for part in named.split(","))):
        key_id, _, reference = one.partition("=")
        is_example = key_id.strip().lower().startswith(DEVELOPMENT_KEYS)
        if is_example or len(set(_key_bytes(reference.strip(), environment) or os.urandom(32))) < LEAST_DIFFERENT_BYTES:
            yield _wrong(
                "development key",
                f"the key-encryption key {key_id.strip()} is one of development",
                "make one of 32 random bytes (openssl rand -base64 32), name it first, and seal again",
            )


def judge_broker_users(users: Sequence[BrokerUser], signed_in_as: str) -> Iterator[Finding]:
    """Judge who is known to the broker; `signed_in_as` is the user of AMQP_URL."""
    for user in users:
        if user.name == "guest":
            yield _wrong("guest", "the broker has the user guest", "reinstate broker users")
        if user.name == signed_in_as and "administrator" in user.tags:
            yield _wrong("broker administrator", "AMQP_URL signs in as an administrator", "reinstate broker users")


def judge_database_role(role: DatabaseRole) -> Iterator[Finding]:
    """Judge as whom the services work in the database."""
    remedy = "give each service a role of its own, that owns nothing; migrate as the owner only"
    if role.is_superuser:
        yield _wrong("database role", "DATABASE_URL signs in as a superuser", remedy)
    if role.bypasses_row_security:
        yield _wrong("database role", "DATABASE_URL signs in as a role that bypasses row security", remedy)
    if role.owned_tables:
        yield _wrong("database role", f"DATABASE_URL signs in as the owner of {role.owned_tables} tables", remedy)


def judge_graph(addresses: Mapping[str, str]) -> Iterator[Finding]:
    """Judge tenants' addresses of Microsoft Graph, by tenant id."""
    for tenant, url in addresses.items():
        parts = urlsplit(url)
        if parts.scheme != "https" or parts.hostname not in GRAPH_CLOUDS:
            yield _wrong(
                "simulated graph",
                f"tenant {tenant} is not at Microsoft Graph",
                "see reinstate tenant list, and remove it",
            )


async def _broker_users() -> Sequence[Finding]:
    try:
        async with management_client(settings.management_url()) as client:
            rows = await call(client, "GET", "users", doing="reading the users")
        signed_in_as = unquote(urlsplit(settings.amqp_url()).username or "guest")
    except (TopologyError, CliFailure):
        return [
            _unseen(
                "broker users",
                "the management API does not answer",
                "set RABBITMQ_MANAGEMENT_URL to an administrator's",
            )
        ]
    return [*judge_broker_users([_user(row) for row in rows or ()], signed_in_as)]


def _user(row: Mapping[str, Any]) -> BrokerUser:
    tags = row.get("tags", "")
    return BrokerUser(row["name"], frozenset(tags.split(",") if isinstance(tags, str) else tags))


async def _database() -> Sequence[Finding]:
    try:
        engine = create_engine(settings.database_url(), service="cli", pool_size=1)
    except (CliFailure, ValueError):
        return [_unseen("database role", "DATABASE_URL is missing or wrong", "set it as a service has it")]
    try:
        standing = SqlStanding(engine)
        return [*judge_database_role(await standing.role()), *judge_graph(await standing.graph_addresses())]
    except (ReinstateError, DBAPIError) as error:
        return [_unseen("database role", f"the database was not asked: {type(error).__name__}", "reinstate doctor")]
    finally:
        await engine.dispose()


def _given(name: str, environment: Mapping[str, str]) -> str:
    """Return an address, from its file where there is one."""
    file = environment.get(f"{name}_FILE", "").strip()
    return (_read(Path(file)).strip() if file else "") or environment.get(name, "").strip()


def _key_bytes(reference: str, environment: Mapping[str, str]) -> bytes:
    """Return the key behind `file:PATH` or `env:NAME`; nothing for what is kept elsewhere or cannot be read."""
    kind, _, name = reference.partition(":")
    word = (_read(Path(name)) if kind == "file" else environment.get(name, "") if kind == "env" else "").strip()
    try:
        return bytes.fromhex(word)
    except ValueError:
        pass
    try:
        return base64.b64decode(word, validate=True)
    except binascii.Error:
        return b""


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _wrong(check: str, detail: str, remedy: str) -> Finding:
    return Finding(check, Health.WRONG, detail, remedy)


def _unseen(check: str, detail: str, remedy: str) -> Finding:
    """What could not be looked at is not known to be right."""
    return Finding(check, Health.WRONG, f"not looked at: {detail}", remedy)
