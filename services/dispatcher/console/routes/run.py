"""One run: its line of time, counts, items, plan, audit, and what may be done to it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import RedirectResponse

from services.dispatcher import cursors
from services.dispatcher.access import Member, Room, TheMember, TheRoom
from services.dispatcher.asking import abort, retry, undo
from services.dispatcher.console.headers import PREFIX
from services.dispatcher.console.routing import SignedInPage, form_of
from services.dispatcher.console.shell import show
from services.dispatcher.console.shown import RunLine, deeds, href_of, timeline
from services.dispatcher.needs import decides, may
from services.dispatcher.ports import ReadTransaction
from services.dispatcher.routes.events import watch
from services.dispatcher.routes.paging import Cursor, cut
from services.dispatcher.routes.runs import found_run, read_preview, read_run
from services.dispatcher.views import PATHS, RunItemView
from shared.domain.capabilities import Capability
from shared.domain.items import ItemState
from shared.domain.operations import capabilities_of
from shared.domain.runs import Counts, RunType
from shared.front_door import ItemFilter
from shared.ports import RunRecord

_ROWS = 50
_AUDITED = 50  # lines
_PLANNED = 25  # objects of a page
_MOST = 2**31 - 1
_TABS: dict[str, tuple[ItemState, ...]] = {
    "failed": (ItemState.FAILED, ItemState.UNKNOWN),
    "skipped": (ItemState.SKIPPED,),
    "open": (ItemState.PENDING, ItemState.INTENT),
    "done": (ItemState.SUCCEEDED,),
    "all": (),
}
_TENANT = f"{PREFIX}/tenants/{{tenant}}"
_RESTORE, _BULK = (f"/{PATHS[run_type]}/{{run}}" for run_type in (RunType.RESTORE, RunType.BULK))
_MAY_VIEW = [may(Capability.RUN_VIEW)]
_MAY_RESTORE, _MAY_BULK = ([decides(*capabilities_of(run_type))] for run_type in (RunType.RESTORE, RunType.BULK))

router = APIRouter(prefix=_TENANT, include_in_schema=False, route_class=SignedInPage)
Tab = Annotated[str | None, Query(pattern=f"^({'|'.join(_TABS)})$", alias="items")]


@router.get(_RESTORE, operation_id="showRestoreRun", dependencies=_MAY_VIEW)
async def show_restore_run(
    request: Request, run: UUID, member: TheMember, room: TheRoom, tab: Tab = None, cursor: Cursor = None
) -> Response:
    """Show a restore run."""
    return await _show(RunType.RESTORE, request, run, member, room, tab, cursor)


@router.get(_BULK, operation_id="showBulkOperationRun", dependencies=_MAY_VIEW)
async def show_bulk_operation_run(
    request: Request, run: UUID, member: TheMember, room: TheRoom, tab: Tab = None, cursor: Cursor = None
) -> Response:
    """Show a bulk operation run."""
    return await _show(RunType.BULK, request, run, member, room, tab, cursor)


@router.get(f"{_RESTORE}/plan", operation_id="showPlan", dependencies=_MAY_VIEW)
async def show_plan(request: Request, run: UUID, member: TheMember, room: TheRoom, cursor: Cursor = None) -> Response:
    """Show what an execution of a preview would do, object by object, in words."""
    preview = await read_preview(run, member, room, cursor, _PLANNED)
    async with room.uow.begin(member.tenant_id) as tx:
        tenant = await tx.tenants.get()
    return await show(
        request,
        room,
        "plan.html",
        preview=preview,
        tenant=tenant.name if tenant else "",
        href=href_of(member.tenant_id, RunType.RESTORE, run),
        is_first=cursor is None,
    )


LastEvent = Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=_MOST)]
After = Annotated[int, Query(ge=0, le=_MOST)]


@router.get(f"{_RESTORE}/events", operation_id="followRestoreRun", dependencies=_MAY_VIEW)
async def follow_restore_run(
    run: UUID, member: TheMember, room: TheRoom, after: After = 0, last_event_id: LastEvent = None
) -> Response:
    """Give the page what happens, as the API gives it to programs."""
    return await watch(RunType.RESTORE, run, member, room, after if last_event_id is None else last_event_id)


@router.get(f"{_BULK}/events", operation_id="followBulkOperationRun", dependencies=_MAY_VIEW)
async def follow_bulk_operation_run(
    run: UUID, member: TheMember, room: TheRoom, after: After = 0, last_event_id: LastEvent = None
) -> Response:
    """Give the page what happens, as the API gives it to programs."""
    return await watch(RunType.BULK, run, member, room, after if last_event_id is None else last_event_id)


@router.post(f"{_RESTORE}/abort", operation_id="pressAbortRestoreRun", dependencies=_MAY_RESTORE)
async def abort_restore_run(run: UUID, member: TheMember, room: TheRoom) -> Response:
    """Ask the run to stop, and show it."""
    return _to(await abort(RunType.RESTORE, run, member, room))


@router.post(f"{_BULK}/abort", operation_id="pressAbortBulkOperationRun", dependencies=_MAY_BULK)
async def abort_bulk_operation_run(run: UUID, member: TheMember, room: TheRoom) -> Response:
    """Ask the run to stop, and show it."""
    return _to(await abort(RunType.BULK, run, member, room))


@router.post(f"{_RESTORE}/retry-failed", operation_id="pressRetryOfRestoreRun", dependencies=_MAY_RESTORE)
async def retry_restore_run(request: Request, run: UUID, member: TheMember, room: TheRoom) -> Response:
    """Start a run over what failed, and show that."""
    return await _retry(RunType.RESTORE, request, run, member, room)


@router.post(f"{_BULK}/retry-failed", operation_id="pressRetryOfBulkOperationRun", dependencies=_MAY_BULK)
async def retry_bulk_operation_run(request: Request, run: UUID, member: TheMember, room: TheRoom) -> Response:
    """Start a run over what failed, and show that."""
    return await _retry(RunType.BULK, request, run, member, room)


@router.post(f"{_RESTORE}/undo", operation_id="pressUndoRestoreRun", dependencies=[decides(Capability.RESTORE_EXECUTE)])
async def undo_restore_run(request: Request, run: UUID, member: TheMember, room: TheRoom) -> Response:
    """Start a preview of the way back, and show that."""
    return _to((await undo(run, member, room, _key(request))).run)


async def _retry(run_type: RunType, request: Request, run: UUID, member: Member, room: Room) -> Response:
    unknown = form_of(request).get("include_unknown") == "yes"
    return _to((await retry(run_type, run, member, room, include_unknown=unknown, key=_key(request))).run)


def _key(request: Request) -> str | None:
    """Name the press of a button: pressed twice, it does one thing. What is no id of a form names nothing."""
    try:
        return f"console:{UUID(form_of(request).get('press', ''))}"
    except ValueError:
        return None


def _to(run: RunRecord) -> Response:
    return RedirectResponse(href_of(run.tenant_id, run.run_type, run.id), 303)


async def _show(
    run_type: RunType, request: Request, run_id: UUID, member: Member, room: Room, tab: str | None, cursor: str | None
) -> Response:
    now = datetime.now(UTC)
    async with room.uow.begin(member.tenant_id) as tx:
        record = await found_run(tx, run_type, run_id)
        chosen = tab or ("failed" if record.counts.failed else "all")
        name = f"console-items:{run_id}:{chosen}"
        wanted, after = ItemFilter(states=_TABS[chosen]), cursors.by_ordinal(cursor, name)
        rows = await tx.run_lists.items(run_type, run_id, wanted, after=after, limit=_ROWS + 1)
        view = await read_run(tx, record, room.preview_age)
        tenant = await tx.tenants.get()
        audit = await tx.audit_lines.about(run_id, limit=_AUDITED)
        actions = await _actions(tx, record)
    page, following = cut(rows, _ROWS, lambda item: cursors.encode(name, item.ordinal))
    return await show(
        request,
        room,
        "run.html",
        run=view,
        line=RunLine.of(record, tenant.name if tenant else "", now),
        timeline=timeline(record, now),
        deeds=deeds(record, member.role),
        items=[RunItemView.of(item) for item in page],
        tabs=_tabs(record.counts),
        tab=chosen,
        following=following,
        is_first=cursor is None,
        actions=actions,
        audit=audit,
        links=_related(record),
        press=uuid4(),
        now=now,
    )


async def _actions(tx: ReadTransaction, run: RunRecord) -> Sequence[tuple[str, int]]:
    """Count what the plan would do, or did: of an execution its preview's."""
    if run.run_type is not RunType.RESTORE:
        return ()
    counted = await tx.run_lists.plan_actions(run.preview_run_id or run.id)
    return sorted(counted.items(), key=lambda one: (-one[1], one[0]))


def _tabs(counts: Counts) -> Sequence[tuple[str, int | None]]:
    left = None if counts.total is None else counts.total - counts.processed
    numbers = (counts.failed, counts.skipped, left, counts.succeeded, counts.total)
    return list(zip(_TABS, numbers, strict=True))


def _related(run: RunRecord) -> Sequence[tuple[str, str]]:
    plan = run.preview_run_id or (run.id if not run.writes and run.run_type is RunType.RESTORE else None)
    plans = [("Plan", f"{href_of(run.tenant_id, run.run_type, plan)}/plan")] if plan else []
    related = (("Preview", run.preview_run_id), ("Retry of", run.retry_of), ("Undo of", run.undo_of))
    return plans + [(name, href_of(run.tenant_id, run.run_type, other)) for name, other in related if other is not None]
