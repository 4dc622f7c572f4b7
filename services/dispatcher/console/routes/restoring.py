"""The restore wizard: source, scope, checks and preview, confirmation. What it starts are the API's own runs (ADR 34).

The source stands in the address and everything after it in the preview's run: another source or scope makes another
preview, and nothing that was found for the old one counts for it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from services.dispatcher import cursors
from services.dispatcher.access import Member, Room, TheMember, TheRoom, note_refusal
from services.dispatcher.asking import start
from services.dispatcher.console.headers import PREFIX
from services.dispatcher.console.restoring import MOST_ITEMS as MOST
from services.dispatcher.console.restoring import STEPS, Scope, blocking, check_confirmed, locks, without
from services.dispatcher.console.routing import SignedInPage, form_of
from services.dispatcher.console.shell import show
from services.dispatcher.console.shown import RunLine, href_of
from services.dispatcher.needs import decides, may
from services.dispatcher.requests import RestoreRunBody
from services.dispatcher.routes.paging import Cursor, cut
from services.dispatcher.routes.runs import found_run, read_preview
from shared.domain.capabilities import Capability
from shared.domain.errors import NotFoundError, PermanentError, SafeCode
from shared.domain.plans import PlanAction
from shared.domain.restore_options import Assignments, Match
from shared.domain.runs import RunType
from shared.ports import RunRecord

_SETS = 20  # of a page
_PLANNED = 10  # objects of the plan that the page shows; the rest has a page of its own
_ABOUT_THE_FORM = frozenset({SafeCode.SELECTION_EMPTY, SafeCode.REQUEST_INVALID, SafeCode.SELECTION_UNKNOWN_ITEMS})
_MAY_PREVIEW = [may(Capability.RESTORE_PREVIEW)]
_PATH = "/restore"

router = APIRouter(prefix=f"{PREFIX}/tenants/{{tenant}}", include_in_schema=False, route_class=SignedInPage)


def wizard_of(tenant_id: UUID) -> str:
    """Return the address of the first step."""
    return f"{PREFIX}/tenants/{tenant_id}{_PATH}"


@router.get(_PATH, operation_id="showRestoreWizard", dependencies=_MAY_PREVIEW)
async def show_wizard(
    request: Request,
    member: TheMember,
    room: TheRoom,
    backup_set: Annotated[UUID | None, Query()] = None,
    cursor: Cursor = None,
) -> Response:
    """Show what can be restored from; or, once that is chosen, what of it."""
    if backup_set is not None:
        return await _scope(request, member, room, backup_set, Scope())
    before = cursors.by_id(cursor, "console-sources")
    async with room.uow.begin(member.tenant_id) as tx:
        rows = await tx.backups.page_sets(before=before, limit=_SETS + 1)
        tenant = await tx.tenants.get()
    page, following = cut(rows, _SETS, lambda one: cursors.encode("console-sources", one.id))
    return await show(
        request,
        room,
        "restore_source.html",
        tenant=tenant.name if tenant else "",
        home=wizard_of(member.tenant_id),
        steps=STEPS,
        sets=page,
        following=following,
        is_first=cursor is None,
        now=datetime.now(UTC),
    )


@router.post(_PATH, operation_id="pressPreview", dependencies=_MAY_PREVIEW)
async def press_preview(
    request: Request, member: TheMember, room: TheRoom, backup_set: Annotated[UUID, Query()]
) -> Response:
    """Start a preview of what was chosen, and show that."""
    scope = Scope.of(form_of(request))
    try:
        return _to(await _preview(request, member, room, scope.body(backup_set)))
    except PermanentError as error:
        if error.code not in _ABOUT_THE_FORM:
            raise
        await note_refusal(request, error)
        return await _scope(request, member, room, backup_set, scope, error)


@router.get(f"{_PATH}/{{run}}", operation_id="showRestoreStep", dependencies=[may(Capability.RUN_VIEW)])
async def show_step(request: Request, run: UUID, member: TheMember, room: TheRoom) -> Response:
    """Show what a preview found, what its execution would do, and what it takes to say yes."""
    return await _step(request, run, member, room)


@router.post(f"{_PATH}/{{run}}/leave-out", operation_id="pressLeaveOutBlocked", dependencies=_MAY_PREVIEW)
async def leave_out_blocked(request: Request, run: UUID, member: TheMember, room: TheRoom) -> Response:
    """Start a preview of everything but what is blocked, and show that."""
    async with room.uow.begin(member.tenant_id) as tx:
        record = await found_run(tx, RunType.RESTORE, run)
        left = await tx.run_lists.items_planned_otherwise(run, PlanAction.BLOCKED.value)
    if record.writes or record.backup_set_id is None or not record.status.is_terminal:
        raise PermanentError(SafeCode.RESTORE_PREVIEW_REQUIRED, status=record.status.value)
    body = without(left, record.backup_set_id, record.metadata.get("options") or {})
    return _to(await _preview(request, member, room, body))


@router.post(
    f"{_PATH}/{{run}}/execute", operation_id="pressExecute", dependencies=[decides(Capability.RESTORE_EXECUTE)]
)
async def press_execute(request: Request, run: UUID, member: TheMember, room: TheRoom) -> Response:
    """Execute the plan that was looked at, if that was confirmed, and show its run."""
    form = form_of(request)
    preview = await read_preview(run, member, room, None, 1)
    async with room.uow.begin(member.tenant_id) as tx:
        tenant = await tx.tenants.get()
    if tenant is None:
        raise NotFoundError(SafeCode.RESOURCE_NOT_FOUND)
    for lock in locks(preview, member.role):
        raise lock.error()
    try:
        plan_hash = check_confirmed(form, tenant.name)
    except PermanentError as error:
        await note_refusal(request, error)
        return await _step(request, run, member, room, error)
    body = RestoreRunBody(is_dry_run=False, preview_run_id=run, plan_hash=plan_hash or None)
    principal = member.principal
    command = body.command(member.tenant_id, principal.user_id, principal.name)
    started = await start(command, member, room, _press(form))
    return RedirectResponse(href_of(member.tenant_id, RunType.RESTORE, started.run.id), 303)


async def _preview(request: Request, member: Member, room: Room, body: RestoreRunBody) -> RunRecord:
    command = body.command(member.tenant_id, member.principal.user_id, member.principal.name)
    return (await start(command, member, room, _press(form_of(request)))).run


def _press(form: Mapping[str, str]) -> str | None:
    """Name the press of a button: pressed twice, it does one thing. What is no id of a form names nothing."""
    try:
        return f"console:{UUID(form.get('press', ''))}"
    except ValueError:
        return None


def _to(run: RunRecord) -> Response:
    return RedirectResponse(f"{wizard_of(run.tenant_id)}/{run.id}", 303)


async def _scope(
    request: Request,
    member: Member,
    room: Room,
    backup_set: UUID,
    scope: Scope,
    error: PermanentError | None = None,
) -> Response:
    async with room.uow.begin(member.tenant_id) as tx:
        found = await tx.backups.get_set(backup_set)
        if found is None:
            raise NotFoundError(SafeCode.RESOURCE_NOT_FOUND)
        types = await tx.backups.types(backup_set)
        items = await tx.backups.items(backup_set, after=None, limit=MOST + 1)
        tenant = await tx.tenants.get()
    return await show(
        request,
        room,
        "restore_scope.html",
        422 if error else 200,
        tenant=tenant.name if tenant else "",
        home=wizard_of(member.tenant_id),
        steps=STEPS,
        set=found,
        types=types,
        items=items if len(items) <= MOST else (),
        scope=scope,
        matches=list(Match),
        assignments=list(Assignments),
        error=error,
        press=uuid4(),
        now=datetime.now(UTC),
    )


async def _step(
    request: Request, run: UUID, member: Member, room: Room, error: PermanentError | None = None
) -> Response:
    preview = await read_preview(run, member, room, None, _PLANNED)
    async with room.uow.begin(member.tenant_id) as tx:
        record = await found_run(tx, RunType.RESTORE, run)
        tenant = await tx.tenants.get()
        found = await tx.backups.get_set(record.backup_set_id) if record.backup_set_id else None
        pauses = await tx.pauses.list()
    now, name = datetime.now(UTC), tenant.name if tenant else ""
    line = RunLine.of(record, name, now)
    return await show(
        request,
        room,
        "restore_preview.html",
        422 if error else 200,
        tenant=name,
        home=wizard_of(member.tenant_id),
        steps=STEPS,
        set=found,
        run=line.run,
        line=line,
        preview=preview,
        locks=locks(preview, member.role),
        blocked=blocking(preview),
        may_preview=member.role.may(Capability.RESTORE_PREVIEW),
        pauses=[one for one in pauses if one.operation in (None, "restore.execute")],
        error=error,
        press=uuid4(),
        now=now,
    )
