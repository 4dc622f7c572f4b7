"""Pausing a tenant's work, or one kind of it."""

from fastapi import APIRouter

from services.dispatcher.access import BEARER, Member, SignedInRoute, TheMember, TheRoom
from services.dispatcher.needs import decides
from services.dispatcher.pausing import PauseRequest, pause, resume
from services.dispatcher.problems import responses
from services.dispatcher.requests import PauseBody
from services.dispatcher.tenant_views import PauseView
from shared.domain.capabilities import Capability

router = APIRouter(
    prefix="/v1/tenants/{tenant}",
    tags=["pauses"],
    route_class=SignedInRoute,
    dependencies=[BEARER, decides(Capability.WORK_PAUSE)],
)

_ANSWERS = responses(400, 403, 404, 409, 422)


@router.post("/pause", operation_id="pauseTenant", responses=_ANSWERS, response_model_exclude_none=True)
async def pause_tenant(body: PauseBody, member: TheMember, room: TheRoom) -> list[PauseView]:
    """Take up no run of the operation, or none at all; what is being worked ends its slice. Needs a manager."""
    pauses = await pause(_request(body, member), uow=room.uow)
    return [PauseView.of(one) for one in pauses]


@router.post("/resume", operation_id="resumeTenant", responses=_ANSWERS, response_model_exclude_none=True)
async def resume_tenant(body: PauseBody, member: TheMember, room: TheRoom) -> list[PauseView]:
    """Lift a pause; what waited goes on. Needs a manager. Pauses for all tenants stay."""
    pauses = await resume(_request(body, member), uow=room.uow)
    return [PauseView.of(one) for one in pauses]


def _request(body: PauseBody, member: Member) -> PauseRequest:
    principal = member.principal
    return PauseRequest(
        member.tenant_id, body.operation, body.reason, principal.user_id, (principal.name or "user")[:200]
    )
