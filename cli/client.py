"""The HTTP API as Python: small, typed, and with errors that say what to do."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import IO, Any
from uuid import UUID

import httpx
from httpx_sse import SSEError, aconnect_sse

from cli import transfers
from cli.console import CliFailure, ExitCode
from cli.models import (
    BackupSet,
    ImportedSet,
    MappedId,
    Notification,
    NotificationPage,
    Pause,
    Preview,
    Run,
    RunItem,
    RunPage,
    StartedRun,
)
from cli.refusals import RequestRefused, failure_of, not_ours
from cli.transport import PAGE, TIMEOUT, Transport, json_of
from shared.contracts.events import RunEvent
from shared.domain.runs import RunStatus, RunType

FIRST_POLL, SLOWEST_POLL, POLL_GROWTH = 0.1, 1.0, 1.5  # seconds, seconds, factor
_PATHS = {RunType.RESTORE: "restore-runs", RunType.BULK: "bulk-operation-runs"}

Progress = Callable[[Run], None]


class Client(Transport):
    """Calls one Reinstate server as one user. Use as an async context manager.

    Every call raises `RequestRefused` when the server refuses and `CliFailure` (exit code 3) when it does not answer
    or is not able to.
    """

    # --- starts ------------------------------------------------------------------------------------------------------

    async def start_bulk(
        self,
        tenant_id: UUID,
        operation: str,
        *,
        target_id: UUID | None = None,
        item_ids: Sequence[UUID] | None = None,
        selector: dict[str, Any] | None = None,
        name: str | None = None,
        idempotency_key: str | None = None,
    ) -> StartedRun:
        """Start `resource.action`, for example `backup_set.create`, or join the identical active run."""
        resource, _, action = operation.partition(".")
        body = {"resource": resource, "action": action, "target_id": target_id, "name": name}
        body |= _selection(item_ids, selector)
        return await self._start(tenant_id, RunType.BULK, body, idempotency_key)

    async def start_restore(
        self,
        tenant_id: UUID,
        *,
        backup_set_id: UUID | None = None,
        preview_run_id: UUID | None = None,
        item_ids: Sequence[UUID] | None = None,
        selector: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
        plan_hash: str | None = None,
        idempotency_key: str | None = None,
    ) -> StartedRun:
        """Preview a backup set; with `preview_run_id` execute that preview's plan instead, if it has `plan_hash`."""
        if preview_run_id is not None:
            body: dict[str, Any] = {"is_dry_run": False, "preview_run_id": preview_run_id}
            body |= {"plan_hash": plan_hash} if plan_hash is not None else {}
        else:
            body = {"is_dry_run": True, "backup_set_id": backup_set_id, **_selection(item_ids, selector)}
            body |= {"options": options} if options else {}
        return await self._start(tenant_id, RunType.RESTORE, body, idempotency_key)

    async def abort(self, run: Run) -> Run:
        """Ask a run to stop between two items; return it as it is now."""
        return _run_of(await self.call("POST", f"{_path(run)}/abort"))

    async def retry_failed(self, run: Run, *, include_unknown: bool = False) -> StartedRun:
        """Start a child run over what the run left undone, or join the active one."""
        response = await self.send("POST", f"{_path(run)}/retry-failed", json={"include_unknown": include_unknown})
        return StartedRun(run=_run_of(json_of(response)), created=response.status_code == httpx.codes.CREATED)

    async def undo(self, tenant_id: UUID, run_id: UUID) -> StartedRun:
        """Start a preview of the way back from an execution, or join the active one."""
        path = f"/v1/tenants/{tenant_id}/{_PATHS[RunType.RESTORE]}/{run_id}/undo"
        response = await self.send("POST", path)
        return StartedRun(run=_run_of(json_of(response)), created=response.status_code == httpx.codes.CREATED)

    async def pause(self, tenant_id: UUID, operation: str | None, reason: str) -> list[Pause]:
        """Have no run of the operation (None: of any) taken up; return what is paused now."""
        return await self._change_pause("pause", tenant_id, operation, reason)

    async def resume(self, tenant_id: UUID, operation: str | None, reason: str) -> list[Pause]:
        """Lift a pause; return what is still paused."""
        return await self._change_pause("resume", tenant_id, operation, reason)

    async def _change_pause(self, verb: str, tenant_id: UUID, operation: str | None, reason: str) -> list[Pause]:
        body = {"operation": operation, "reason": reason}
        response = await self.send("POST", f"/v1/tenants/{tenant_id}/{verb}", json=body)
        return [Pause.model_validate(one) for one in json_of(response)]

    # --- runs --------------------------------------------------------------------------------------------------------

    async def run(self, tenant_id: UUID, run_type: RunType, run_id: UUID) -> Run:
        """Return the run as it is now."""
        return _run_of(await self.call("GET", f"/v1/tenants/{tenant_id}/{_PATHS[run_type]}/{run_id}"))

    async def find_run(self, tenant_id: UUID, run_id: UUID) -> Run:
        """Return a run whose type is not known."""
        try:
            return await self.run(tenant_id, RunType.RESTORE, run_id)
        except RequestRefused as refused:
            if refused.status != httpx.codes.NOT_FOUND:
                raise
        return await self.run(tenant_id, RunType.BULK, run_id)

    async def runs(
        self,
        tenant_id: UUID,
        *,
        statuses: Sequence[RunStatus] = (),
        operation: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> RunPage:
        """Return runs of both types, newest first."""
        wanted = {"status": [status.value for status in statuses], "operation": operation}
        answer = await self.call(
            "GET", f"/v1/tenants/{tenant_id}/runs", params={**wanted, "limit": limit, "cursor": cursor}
        )
        return RunPage.model_validate(answer)

    async def wait(self, run: Run, on_progress: Progress | None = None, *, within: float | None = None) -> Run:
        """Return the run once it is over; `on_progress` hears of each look at it, the first and last included.

        Looks every 0.1 s at first and more rarely while nothing changes, at least once a second. Raises `TimeoutError`
        after `within` seconds. An outage of the server shorter than that is waited through, up to 30 s without one.
        """
        async with asyncio.timeout(within):
            pause, missed = FIRST_POLL, 0.0
            while True:
                if on_progress:
                    on_progress(run)
                if run.status.is_terminal:
                    return run
                await asyncio.sleep(pause)
                before = run
                try:
                    run = await self.run(run.tenant_id, run.run_type, run.id)
                    missed = 0.0
                except CliFailure as failure:
                    missed += pause
                    if failure.exit_code is not ExitCode.UNREACHABLE or missed > TIMEOUT:
                        raise
                changed = (run.status, run.counts) != (before.status, before.counts)
                pause = FIRST_POLL if changed else min(pause * POLL_GROWTH, SLOWEST_POLL)

    async def events(self, run: Run, *, after: int = 0) -> AsyncGenerator[RunEvent, None]:
        """Yield the run's events after number `after` as they happen, until its end or that of the connection.

        Raises `RequestRefused` with 404 also where the server has no event streams.
        """
        headers = {"Last-Event-ID": str(after)}
        try:
            async with aconnect_sse(self.http, "GET", f"{_path(run)}/events", headers=headers) as source:
                if not source.response.is_success:
                    await source.response.aread()
                    raise failure_of(source.response)
                if source.response.status_code != httpx.codes.NO_CONTENT:
                    async for sent in source.aiter_sse():
                        if sent.data:  # a heartbeat or a hint has none
                            yield RunEvent.model_validate_json(sent.data)
        except (SSEError, ValueError):
            raise not_ours("the answer is no stream of events") from None
        except httpx.HTTPError:
            raise self.unreachable() from None

    async def items(self, run: Run, *, outcome: str | None = None) -> AsyncIterator[RunItem]:
        """Yield every item of a run in order, page by page."""
        async for raw in self.pages(f"{_path(run)}/items", {"outcome": outcome}):
            yield RunItem.model_validate(raw)

    async def id_map(self, run: Run) -> AsyncIterator[MappedId]:
        """Yield what an execution made of the backup's ids, page by page."""
        async for raw in self.pages(f"{_path(run)}/id-map", {}):
            yield MappedId.model_validate(raw)

    async def preview(self, run: Run) -> Preview:
        """Return what an execution of this preview would do: the sums and every entry."""
        entries: list[Any] = []
        cursor: str | None = None
        while True:
            page = await self.call("GET", f"{_path(run)}/preview", params={"limit": PAGE, "cursor": cursor})
            entries += page["items"]
            cursor = page.get("next")
            if not cursor:
                return Preview.model_validate({**page, "items": entries})

    async def plan_hash(self, run: Run) -> str | None:
        """Return the hash of a preview's plan; None while there is none."""
        answer = await self.call("GET", f"{_path(run)}/preview", params={"limit": 1})
        return Preview.model_validate(answer).plan_hash

    async def backup_sets(self, tenant_id: UUID) -> AsyncIterator[BackupSet]:
        """Yield the tenant's backup sets, newest first."""
        async for raw in self.pages(f"/v1/tenants/{tenant_id}/backup-sets", {}):
            yield BackupSet.model_validate(raw)

    async def download_archive(self, run: Run, file: IO[bytes]) -> str | None:
        """Write the archive of an export that is over into `file`; return its SHA-256, None when it made none."""
        try:
            return await transfers.download(self.http, f"{_path(run)}/archive", file)
        except httpx.HTTPError:
            raise self.unreachable() from None

    async def import_archive(self, tenant_id: UUID, file: IO[bytes], *, name: str | None = None) -> ImportedSet:
        """Make a backup set of the archive in `file`; the same one under the same name again gives the same set."""
        return await transfers.upload(self.send, f"/v1/tenants/{tenant_id}/backup-sets/import", file, name)

    async def tenant_name(self, tenant_id: UUID) -> str:
        """Return the tenant's name; its id where the server does not tell names."""
        try:
            answer = await self.call("GET", f"/v1/tenants/{tenant_id}")
        except RequestRefused as refused:
            if refused.status != httpx.codes.NOT_FOUND:
                raise
            return str(tenant_id)
        return str(answer["name"])

    # --- notifications -----------------------------------------------------------------------------------------------

    async def notifications(
        self, *, unread_only: bool = False, archived: bool = False, limit: int = 20, cursor: str | None = None
    ) -> NotificationPage:
        """Return what this user has been told in every tenant, newest first, with the counts."""
        params = {"limit": limit, "cursor": cursor}
        params |= {"unread": True} if unread_only else {}
        params |= {"archived": True} if archived else {}
        return NotificationPage.model_validate(await self.call("GET", "/v1/notifications", params=params))

    async def read_notification(self, notification_id: UUID) -> Notification:
        """Mark one read."""
        return Notification.model_validate(await self.call("POST", f"/v1/notifications/{notification_id}/read"))

    async def archive_notification(self, notification_id: UUID) -> Notification:
        """Put one away."""
        return Notification.model_validate(await self.call("POST", f"/v1/notifications/{notification_id}/archive"))

    async def read_all_notifications(self) -> int:
        """Mark everything read; return how many changed."""
        answer = await self.call("POST", "/v1/notifications/read-all")
        return int(answer.get("changed", 0)) if isinstance(answer, dict) else 0

    async def _start(
        self, tenant_id: UUID, run_type: RunType, body: dict[str, Any], idempotency_key: str | None
    ) -> StartedRun:
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        plain = {
            name: str(value) if isinstance(value, UUID) else value for name, value in body.items() if value is not None
        }
        response = await self.send("POST", f"/v1/tenants/{tenant_id}/{_PATHS[run_type]}", json=plain, headers=headers)
        return StartedRun(run=_run_of(json_of(response)), created=response.status_code == httpx.codes.CREATED)


def _selection(item_ids: Sequence[UUID] | None, selector: dict[str, Any] | None) -> dict[str, Any]:
    ids = [str(item) for item in item_ids] if item_ids is not None else None
    return {"item_ids": ids, "selector": selector}


def _path(run: Run) -> str:
    return f"/v1/tenants/{run.tenant_id}/{_PATHS[run.run_type]}/{run.id}"


def _run_of(answer: Any) -> Run:  # noqa: ANN401  JSON
    return Run.model_validate(answer)
