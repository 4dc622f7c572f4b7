"""Reading runs, their items, previews and archives."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from services.dispatcher import cursors
from services.dispatcher.access import BEARER, Member, Room, SignedInRoute, TheMember, TheRoom
from services.dispatcher.archives import content_disposition, open_archive
from services.dispatcher.evidence import judged
from services.dispatcher.needs import may
from services.dispatcher.ports import ReadTransaction
from services.dispatcher.preview_views import MappedIdView, PreviewView
from services.dispatcher.problems import responses
from services.dispatcher.routes.paging import Cursor, Limit, cut
from services.dispatcher.views import PATHS, Page, RunItemView, RunView
from shared.domain.capabilities import Capability
from shared.domain.errors import NotFoundError, SafeCode
from shared.domain.freshness import Judgement
from shared.domain.items import ItemState, Outcome
from shared.domain.runs import RunStatus, RunType
from shared.front_door import ItemFilter, RunFilter, RunItem
from shared.ports import RunRecord

router = APIRouter(prefix="/v1/tenants/{tenant}", tags=["runs"], route_class=SignedInRoute, dependencies=[BEARER])
_VIEW = [may(Capability.RUN_VIEW)]

_RESTORE, _BULK = (f"/{PATHS[run_type]}/{{run}}" for run_type in (RunType.RESTORE, RunType.BULK))
Statuses = Annotated[list[RunStatus] | None, Query(alias="status", description="only these; may be repeated")]
Kind = Annotated[RunType | None, Query(description="only this run type")]
OperationName = Annotated[
    str | None, Query(pattern=r"^[a-z_]{1,64}\.[a-z_]{1,64}$", description="only this operation, as `policy.sync`")
]


@router.get(
    "/runs",
    operation_id="listRuns",
    responses=responses(400, 404, 422),
    response_model_exclude_none=True,
    dependencies=_VIEW,
)
async def list_runs(
    member: TheMember,
    room: TheRoom,
    status: Statuses = None,
    kind: Kind = None,
    operation: OperationName = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[RunView]:
    """List runs of both types, newest first."""
    wanted = RunFilter(tuple(status or ()), kind, operation)
    after = cursors.newest_first(cursor, "runs")
    async with room.uow.begin(member.tenant_id) as tx:
        rows = await tx.run_lists.page(wanted, after=after, limit=limit + 1)
    page, following = cut(rows, limit, lambda run: cursors.encode("runs", run.created_at, run.id))
    return Page(items=[RunView.of(run) for run in page], next=following)


_READ = responses(404)


@router.get(
    _RESTORE,
    operation_id="getRestoreRun",
    responses=_READ,
    response_model_exclude_none=True,
    dependencies=_VIEW,
)
async def get_restore_run(run: UUID, member: TheMember, room: TheRoom) -> RunView:
    """Read a restore run: counts, why it waits, what went wrong."""
    return await _get(RunType.RESTORE, run, member, room)


@router.get(
    _BULK,
    operation_id="getBulkOperationRun",
    responses=_READ,
    response_model_exclude_none=True,
    dependencies=_VIEW,
)
async def get_bulk_operation_run(run: UUID, member: TheMember, room: TheRoom) -> RunView:
    """Read a bulk operation run: counts, why it waits, what went wrong."""
    return await _get(RunType.BULK, run, member, room)


_LIST = responses(400, 404, 422)
State = Annotated[ItemState | None, Query(description="only items in this state")]
WithOutcome = Annotated[Outcome | None, Query(description="only items with this outcome")]


@router.get(
    f"{_RESTORE}/items",
    operation_id="listRestoreRunItems",
    responses=_LIST,
    response_model_exclude_none=True,
    dependencies=_VIEW,
)
async def list_restore_run_items(
    run: UUID,
    member: TheMember,
    room: TheRoom,
    state: State = None,
    outcome: WithOutcome = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[RunItemView]:
    """List what became of each item, in the order of work."""
    return await _items(RunType.RESTORE, run, ItemFilter(state, outcome), member, room, cursor=cursor, limit=limit)


@router.get(
    f"{_BULK}/items",
    operation_id="listBulkOperationRunItems",
    responses=_LIST,
    response_model_exclude_none=True,
    dependencies=_VIEW,
)
async def list_bulk_operation_run_items(
    run: UUID,
    member: TheMember,
    room: TheRoom,
    state: State = None,
    outcome: WithOutcome = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[RunItemView]:
    """List what became of each item, in the order of work."""
    return await _items(RunType.BULK, run, ItemFilter(state, outcome), member, room, cursor=cursor, limit=limit)


@router.get(
    f"{_RESTORE}/preview",
    operation_id="getPreview",
    responses=responses(400, 404, 410, 422),
    response_model_exclude_none=True,
    dependencies=_VIEW,
)
async def get_preview(
    run: UUID, member: TheMember, room: TheRoom, cursor: Cursor = None, limit: Limit = 50
) -> PreviewView:
    """Read what an execution of this preview would do, item by item and in sum."""
    return await read_preview(run, member, room, cursor, limit)


async def read_preview(run: UUID, member: Member, room: Room, cursor: str | None, limit: int) -> PreviewView:
    """Return a page of a preview; raise `NotFoundError` for what is none."""
    after = cursors.by_ordinal(cursor, f"preview:{run}")
    async with room.uow.begin(member.tenant_id) as tx:
        record = await found_run(tx, RunType.RESTORE, run)
        if record.writes:
            raise NotFoundError(SafeCode.RESOURCE_NOT_FOUND)
        rows = await tx.run_lists.planned_items(run, after=after, limit=limit + 1)
        actions = await tx.run_lists.plan_actions(run)
        judgement = await _judged(tx, record, room.preview_age)
    page, following = cut(rows, limit, lambda item: cursors.encode(f"preview:{run}", item.ordinal))
    return PreviewView.of(record, actions, page, following, judgement)


@router.get(
    f"{_RESTORE}/id-map",
    operation_id="listIdMap",
    responses=_LIST,
    response_model_exclude_none=True,
    dependencies=_VIEW,
)
async def list_id_map(
    run: UUID, member: TheMember, room: TheRoom, cursor: Cursor = None, limit: Limit = 50
) -> Page[MappedIdView]:
    """List what an execution made of the backup's ids, and what it took references for; empty for a preview."""
    after = cursors.by_key(cursor, "id-map")
    async with room.uow.begin(member.tenant_id) as tx:
        await found_run(tx, RunType.RESTORE, run)
        rows = await tx.id_maps.page(run, after=after, limit=limit + 1)
    page, following = cut(rows, limit, lambda one: cursors.encode("id-map", one.policy_type, one.source_id))
    return Page(items=[MappedIdView.of(one) for one in page], next=following)


@router.get(
    f"{_BULK}/archive",
    operation_id="downloadArchive",
    response_class=StreamingResponse,
    dependencies=[may(Capability.ARCHIVE_DOWNLOAD)],
    responses={
        **responses(404, 410),
        200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}},
    },
)
async def download_archive(run: UUID, member: TheMember, room: TheRoom) -> StreamingResponse:
    """Download the file that an export made; 404 until it is whole. A broken transfer is shorter than promised."""
    async with room.uow.begin(member.tenant_id) as tx:
        await found_run(tx, RunType.BULK, run)
        archive = await tx.archives.get(run)
    if archive is None:
        raise NotFoundError(SafeCode.RESOURCE_NOT_FOUND)
    headers = {
        "Content-Length": str(archive.size),
        "Content-Disposition": content_disposition(archive.name),
        "ETag": f'"{archive.sha256}"',
    }
    return StreamingResponse(open_archive(room.uow, member.tenant_id, archive), 200, headers, "application/zip")


async def _get(run_type: RunType, run_id: UUID, member: Member, room: Room) -> RunView:
    async with room.uow.begin(member.tenant_id) as tx:
        return await read_run(tx, await found_run(tx, run_type, run_id), room.preview_age)


async def read_run(tx: ReadTransaction, run: RunRecord, preview_age: timedelta) -> RunView:
    """Return a run with what is known beside its row."""
    dead = await tx.dead_messages.of_run(run.run_type, run.id)
    return RunView.of(run, dead, await _judged(tx, run, preview_age))


async def _judged(tx: ReadTransaction, run: RunRecord, max_age: timedelta) -> Judgement | None:
    """Judge a preview that succeeded; of any other run there is nothing to judge."""
    if run.run_type is not RunType.RESTORE or run.writes or run.status is not RunStatus.SUCCEEDED:
        return None
    standing = await tx.tenants.standing_of(None)
    backup_set = await tx.selections.backup_set(run.backup_set_id) if run.backup_set_id else None
    return judged(run, backup_set, standing.now, max_age) if standing and backup_set else None


async def _items(
    run_type: RunType,
    run_id: UUID,
    wanted: ItemFilter,
    member: Member,
    room: Room,
    *,
    cursor: str | None,
    limit: int,
) -> Page[RunItemView]:
    name = f"items:{run_id}"
    after = cursors.by_ordinal(cursor, name)
    async with room.uow.begin(member.tenant_id) as tx:
        await found_run(tx, run_type, run_id)
        rows = await tx.run_lists.items(run_type, run_id, wanted, after=after, limit=limit + 1)

    def cursor_of(item: RunItem) -> str:
        return cursors.encode(name, item.ordinal)

    page, following = cut(rows, limit, cursor_of)
    return Page(items=[RunItemView.of(item) for item in page], next=following)


async def found_run(tx: ReadTransaction, run_type: RunType, run_id: UUID) -> RunRecord:
    """Return the tenant's run; raise `NotFoundError`."""
    run = await tx.runs.get(run_type, run_id)
    if run is None:
        raise NotFoundError(SafeCode.RESOURCE_NOT_FOUND)
    return run
