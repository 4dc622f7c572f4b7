"""Importing a backup set that comes from elsewhere."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from services.dispatcher.access import BEARER, Member, Room, SignedInRoute, TheMember, TheRoom, note_refusal
from services.dispatcher.handlers import Door, Source
from services.dispatcher.importing import ArchiveRefused, ImportBackupSet, check_may_import, import_backup_set
from services.dispatcher.needs import decides
from services.dispatcher.problems import MAX_ERRORS, FieldError, problem, responses, title_of
from services.dispatcher.stored_views import BackupSetView
from services.dispatcher.uploads import discard
from shared.contracts.commands import Name
from shared.domain.archives import Problem
from shared.domain.capabilities import Capability
from shared.domain.errors import ReinstateError
from shared.persistence.archive_imports import LeftOut

router = APIRouter(
    prefix="/v1/tenants/{tenant}",
    tags=["stored"],
    route_class=SignedInRoute,
    dependencies=[BEARER, decides(Capability.BACKUP_IMPORT)],
)

IMPORT_PATH = "/backup-sets/import"
_MAX_PATH = 200  # characters of a path in an answer
_BODY = {"required": True, "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}

_LEFT_OUT: dict[str, Any] = {
    "path": "madeUpPolicy/Kiosk.json",
    "code": "policy.type_unknown",
    "title": "The policy's type is not supported",
}
_IMPORTED: dict[str, Any] = {
    "backup_set": {
        "id": "0198c0de-0000-7000-8000-0000000000b1",
        "name": "Moved",
        "created_by": "Mara",
        "created_at": "2026-03-02T09:30:00Z",
        "completed_at": "2026-03-02T09:30:01Z",
        "items": 12,
        "degraded": 1,
        "source_tenant": "0198c0de-0000-7000-8000-0000000000e1",
        "archive_sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    },
    "imported": 12,
    "left_out": [_LEFT_OUT],
}


class LeftOutView(BaseModel):
    """A file of the archive that was not imported."""

    model_config = ConfigDict(json_schema_extra={"examples": [_LEFT_OUT]})

    path: str
    code: str
    title: str


class ImportedView(BaseModel):
    """What an import made. `left_out` names every file that is not in the set, with the reason."""

    model_config = ConfigDict(json_schema_extra={"examples": [_IMPORTED]})

    backup_set: BackupSetView
    imported: int
    left_out: list[LeftOutView]


_ANSWERS: dict[int | str, dict[str, Any]] = {
    **responses(403, 404, 409, 413, 422),
    200: {"model": ImportedView, "description": "The same archive was imported under this name before"},
}


@router.post(
    IMPORT_PATH,
    status_code=201,
    response_model=ImportedView,
    response_model_exclude_none=True,
    operation_id="importBackupSet",
    responses=_ANSWERS,
    openapi_extra={"requestBody": _BODY},
)
async def import_archive(
    request: Request,
    member: TheMember,
    room: TheRoom,
    response: Response,
    name: Annotated[Name | None, Query(description="of the set; the archive says one else")] = None,
) -> ImportedView | Response:
    """Make a completed backup set of a portable archive (the body). Needs a manager.

    The archive is verified first; a refused one leaves nothing behind, and `errors` names what is wrong, by path. The
    same archive under the same name gives the same set, so that a repetition is harmless.
    """
    principal = member.principal
    command = ImportBackupSet(member.tenant_id, principal.user_id, (principal.name or "user")[:200], name)
    stream = request.stream()
    try:
        async with room.uploads.place():
            await check_may_import(command, uow=room.uow)
            async with room.uploads.receive(stream) as upload:
                imported = await import_backup_set(command, upload, source=_source(member), uow=room.uow)
    except ArchiveRefused as refused:
        _count(refused, room)
        await note_refusal(request, refused)
        errors = [FieldError(field=_shown(one), reason=one.kind.value) for one in refused.report.problems[:MAX_ERRORS]]
        return problem(request.url.path, refused.code, context=refused.context, errors=errors)
    except ReinstateError as error:
        await discard(stream)
        _count(error, room)
        raise
    response.status_code = 201 if imported.created else 200
    return ImportedView(
        backup_set=BackupSetView.of(imported.backup_set),
        imported=imported.backup_set.items,
        left_out=[_left_out(one) for one in imported.left_out],
    )


def _count(error: ReinstateError, room: Room) -> None:
    room.metrics.refusals.labels(Door.HTTP.value, error.code.value).inc()


def _source(member: Member) -> Source:
    return Source(Door.HTTP, None, member.principal.name or "user")


def _shown(one: Problem) -> str:
    return "".join(c if c.isprintable() else "?" for c in one.path)[:_MAX_PATH] or "body"


def _left_out(one: LeftOut) -> LeftOutView:
    return LeftOutView(path=one.path, code=one.code.value, title=title_of(one.code))
