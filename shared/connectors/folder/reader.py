"""Opens a folder of exported policies as a tenant that can only be read."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from shared.connectors.folder.references import with_app_ids
from shared.connectors.folder.scan import ScanReport, load, scan
from shared.connectors.policy_types import listed_type
from shared.connectors.policy_types import policy_type as declared
from shared.connectors.port import CallTag, PolicyRef, RemotePolicy, TenantConnection, TenantWriter
from shared.domain.errors import NotFoundError, RunFatalError, SafeCode


class FolderReader:
    """Implements `TenantReader`. `report` also names the files that could not be taken."""

    def __init__(self, root: Path, report: ScanReport) -> None:
        """Take a scanned folder; payloads are read again when asked for, not kept."""
        self.report = report
        self._root = root
        self._files = {(policy.ref.policy_type, policy.ref.remote_id): policy for policy in report.policies}

    async def list_refs(self, policy_type: str, tag: CallTag) -> AsyncIterator[PolicyRef]:  # noqa: ARG002  the port's
        """Yield every policy of the type, in the order of the files' names."""
        one = listed_type(policy_type)
        for policy in self.report.policies:
            if policy.ref.policy_type == one.key:
                yield policy.ref

    async def read(self, policy_type: str, remote_id: str, tag: CallTag) -> RemotePolicy:  # noqa: ARG002  the port's
        """Read one file whole; its assignments apart from the payload."""
        known = self._files.get((declared(policy_type).key, remote_id))
        if known is None:
            raise NotFoundError(SafeCode.GRAPH_NOT_FOUND, policy_type=policy_type)
        one, payload = await asyncio.to_thread(load, self._root, known.file)
        with_app_ids(one, payload)
        assignments = payload.pop("assignments", None)
        entries = assignments if isinstance(assignments, list) else []
        return RemotePolicy(known.ref, payload, [entry for entry in entries if isinstance(entry, dict)])

    async def group_names(self, ids: Sequence[str], tag: CallTag) -> Mapping[str, str]:  # noqa: ARG002  the port's
        """Know no names: exports name groups by their ids."""
        return {}

    async def groups_named(self, names: Sequence[str], tag: CallTag) -> Mapping[str, Sequence[str]]:  # noqa: ARG002  the port's
        """Know no groups."""
        return dict.fromkeys(names, ())


class FolderConnectors:
    """Implements `Connectors` for the kind `folder`; its one setting is `path`."""

    @asynccontextmanager
    async def reader(self, connection: TenantConnection) -> AsyncIterator[FolderReader]:
        """Scan the folder; `RunFatalError` without a path, `PermanentError(FOLDER_MISSING)` without a folder."""
        path = connection.settings.get("path", "")
        if not path:
            raise RunFatalError(SafeCode.TENANT_CONNECTION_INVALID, field="path")
        yield FolderReader(Path(path), await asyncio.to_thread(scan, path))

    def writer(self, connection: TenantConnection) -> AbstractAsyncContextManager[TenantWriter]:  # noqa: ARG002  the port's
        """Refuse: nothing is ever restored into a folder."""
        raise RunFatalError(SafeCode.TENANT_CONNECTION_INVALID, operation="write", reason="read_only")
