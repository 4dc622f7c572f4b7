"""Finds the connector for a tenant by the kind of its connection."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType

from shared.connectors.graph.settings import GraphSettings
from shared.connectors.port import Connectors, Paces, TenantConnection, TenantReader, TenantWriter
from shared.domain.errors import RunFatalError, SafeCode


def _graph(paces: Paces | None) -> Connectors:
    from shared.connectors.graph.connectors import GraphConnectors  # noqa: PLC0415  loads an HTTP client

    return GraphConnectors(paces)


def _folder(_paces: Paces | None) -> Connectors:
    from shared.connectors.folder.reader import FolderConnectors  # noqa: PLC0415  only where it is used

    return FolderConnectors()


KINDS: Mapping[str, Callable[[Paces | None], Connectors]] = MappingProxyType({"graph": _graph, "folder": _folder})


def connectors_for(kind: str, paces: Paces | None = None) -> Connectors:
    """Make the connectors of one kind; `RunFatalError(TENANT_CONNECTION_INVALID)` for a kind that does not exist."""
    if kind not in KINDS:
        raise RunFatalError(SafeCode.TENANT_CONNECTION_INVALID, field="kind")
    return KINDS[kind](paces)


def check_connection(connection: TenantConnection) -> None:
    """Raise `RunFatalError(TENANT_CONNECTION_INVALID)` for settings that cannot be right; asks nobody."""
    match connection.kind:
        case "graph":
            GraphSettings.of(connection)
        case "folder" if connection.settings.get("path"):
            pass
        case kind:
            raise RunFatalError(SafeCode.TENANT_CONNECTION_INVALID, field="path" if kind == "folder" else "kind")


class AllConnectors:
    """Implements `Connectors` for every kind. A process keeps one: tokens are cached in it."""

    def __init__(self, paces: Paces | None = None) -> None:
        """Make nothing yet. Calls that have limits are paced by `paces`; without it they are not."""
        self._paces = paces
        self._made: dict[str, Connectors] = {}

    def reader(self, connection: TenantConnection) -> AbstractAsyncContextManager[TenantReader]:
        """Open it for reading only."""
        return self._of(connection.kind).reader(connection)

    def writer(self, connection: TenantConnection) -> AbstractAsyncContextManager[TenantWriter]:
        """Open it for writing. Only an execution asks for this."""
        return self._of(connection.kind).writer(connection)

    def _of(self, kind: str) -> Connectors:
        if kind not in self._made:
            self._made[kind] = connectors_for(kind, self._paces)
        return self._made[kind]
