"""What a Graph connection needs, read from `TenantConnection.settings`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from shared.connectors.port import TenantConnection
from shared.domain.errors import PermanentError, RunFatalError, SafeCode
from shared.keys.texts import SealedText

SECRET_LIMIT = 16 * 1024  # bytes
STORED = "stored:"  # the reference to a secret that lies sealed in the database
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, repr=False)
class GraphSettings:
    """Validated settings. Without a `repr`, so that no log shows them by accident.

    `total_timeout` (seconds, one call with its answer) stays under the lease, so that a lost answer is noticed while
    the lease still holds.
    """

    directory: str
    client_id: str
    secret_ref: str
    graph_url: str = "https://graph.microsoft.com"
    authority_url: str = "https://login.microsoftonline.com"
    api_version: str = "beta"
    connect_timeout: float = 5.0
    total_timeout: float = 25.0
    answer_limit: int = 32 * 1024 * 1024  # bytes, after decompression
    stored_secret: SealedText | None = None

    @classmethod
    def of(cls, connection: TenantConnection) -> "GraphSettings":
        """Validate; `RunFatalError(TENANT_CONNECTION_INVALID)` with the `field` that is wrong."""
        given = connection.settings
        return cls(
            directory=_word(connection.external_id, "external_id"),
            client_id=_word(given.get("client_id", ""), "client_id"),
            secret_ref=given.get("secret_ref", ""),
            graph_url=_url(given.get("graph_url", cls.graph_url), "graph_url"),
            authority_url=_url(given.get("authority_url", cls.authority_url), "authority_url"),
            api_version=_word(given.get("api_version", cls.api_version), "api_version"),
            connect_timeout=_seconds(given, "connect_timeout_s", cls.connect_timeout),
            total_timeout=min(
                _seconds(given, "total_timeout_s", cls.total_timeout), connection.call_limit or cls.total_timeout
            ),
            stored_secret=connection.stored_secret,
        )

    @property
    def token_url(self) -> str:
        """Where to sign in."""
        return f"{self.authority_url}/{self.directory}/oauth2/v2.0/token"

    def secret(self) -> str:
        """Read the secret that `secret_ref` (`env:NAME`, `file:PATH` or `stored:`) names; it is kept nowhere."""
        kind, _, name = self.secret_ref.partition(":")
        if self.secret_ref == STORED and self.stored_secret is not None:
            return self._opened()
        if kind == "env" and name:
            value = os.environ.get(name, "")
        elif kind == "file" and name:
            value = _content(Path(name))
        else:
            _refuse("secret_ref")
        return value.strip() or _refuse("secret_ref")

    def _opened(self) -> str:
        try:
            return self.stored_secret.reveal().get_secret_value() if self.stored_secret else ""
        except PermanentError:  # altered, or of another tenant
            _refuse("secret_ref")


def _content(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(SECRET_LIMIT)
    except (OSError, ValueError):
        _refuse("secret_ref")


def _word(value: str, field: str) -> str:
    """Accept what can be one segment of a path."""
    plain = value.strip(".") and all(c.isascii() and (c.isalnum() or c in "._-") for c in value)
    return value if plain else _refuse(field)


def _url(value: str, field: str) -> str:
    """Accept https, or http to this machine: a token must not travel in clear text."""
    try:
        parts = urlsplit(value)
        host, _port = parts.hostname, parts.port
    except ValueError:
        _refuse(field)
    safe = parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK)
    if not safe or not host or parts.username or parts.query or parts.fragment:
        _refuse(field)
    return value.rstrip("/")


def _seconds(given: Mapping[str, str], field: str, default: float) -> float:
    """Accept a shorter wait than the default: a longer one would outlive the lease."""
    raw = given.get(field)
    if raw is None:
        return default
    try:
        value = float(raw)
    except ValueError:
        _refuse(field)
    return value if 0 < value <= default else _refuse(field)


def _refuse(field: str) -> NoReturn:
    raise RunFatalError(SafeCode.TENANT_CONNECTION_INVALID, field=field)
