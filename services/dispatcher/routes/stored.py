"""Reading what is stored for a tenant: backup sets and the inventory of policies."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from services.dispatcher import cursors
from services.dispatcher.access import BEARER, SignedInRoute, TheMember, TheRoom
from services.dispatcher.needs import may
from services.dispatcher.problems import responses
from services.dispatcher.routes.paging import Cursor, Limit, cut
from services.dispatcher.stored_views import BackupItemView, BackupSetView, PolicyView
from services.dispatcher.tenant_views import TenantView
from services.dispatcher.views import Page
from shared.contracts.commands import PolicyTypeKey
from shared.domain.capabilities import Capability
from shared.domain.errors import NotFoundError, SafeCode

router = APIRouter(prefix="/v1/tenants/{tenant}", tags=["stored"], route_class=SignedInRoute, dependencies=[BEARER])

_LIST = responses(400, 404, 422)
_VIEW = [may(Capability.BACKUP_VIEW)]


@router.get(
    "",
    operation_id="getTenant",
    responses=responses(404),
    response_model_exclude_none=True,
    dependencies=[may(Capability.TENANT_VIEW)],
)
async def get_tenant(member: TheMember, room: TheRoom) -> TenantView:
    """Read the tenant's name and state, what is paused, and what the caller is there."""
    async with room.uow.begin(member.tenant_id) as tx:
        found, pauses = await tx.tenants.get(), await tx.pauses.list()
    if found is None:
        raise NotFoundError(SafeCode.RESOURCE_NOT_FOUND)
    return TenantView.of(found, member.role, pauses)


@router.get(
    "/backup-sets",
    operation_id="listBackupSets",
    responses=_LIST,
    response_model_exclude_none=True,
    dependencies=_VIEW,
)
async def list_backup_sets(
    member: TheMember, room: TheRoom, cursor: Cursor = None, limit: Limit = 50
) -> Page[BackupSetView]:
    """List backup sets, newest first."""
    before = cursors.by_id(cursor, "backup-sets")
    async with room.uow.begin(member.tenant_id) as tx:
        rows = await tx.backups.page_sets(before=before, limit=limit + 1)
    page, following = cut(rows, limit, lambda one: cursors.encode("backup-sets", one.id))
    return Page(items=[BackupSetView.of(one) for one in page], next=following)


@router.get(
    "/backup-sets/{backup_set}",
    operation_id="getBackupSet",
    responses=responses(404),
    response_model_exclude_none=True,
    dependencies=_VIEW,
)
async def get_backup_set(backup_set: UUID, member: TheMember, room: TheRoom) -> BackupSetView:
    """Read a backup set."""
    async with room.uow.begin(member.tenant_id) as tx:
        found = await tx.backups.get_set(backup_set)
    if found is None:
        raise NotFoundError(SafeCode.RESOURCE_NOT_FOUND)
    return BackupSetView.of(found)


@router.get(
    "/backup-sets/{backup_set}/items",
    operation_id="listBackupItems",
    responses=_LIST,
    response_model_exclude_none=True,
    dependencies=_VIEW,
)
async def list_backup_items(
    backup_set: UUID, member: TheMember, room: TheRoom, cursor: Cursor = None, limit: Limit = 50
) -> Page[BackupItemView]:
    """List what a backup set holds, without the contents."""
    name = f"backup-items:{backup_set}"
    after = cursors.by_id(cursor, name)
    async with room.uow.begin(member.tenant_id) as tx:
        if await tx.backups.get_set(backup_set) is None:
            raise NotFoundError(SafeCode.RESOURCE_NOT_FOUND)
        rows = await tx.backups.items(backup_set, after=after, limit=limit + 1)
    page, following = cut(rows, limit, lambda item: cursors.encode(name, item.id))
    return Page(items=[BackupItemView.of(item) for item in page], next=following)


@router.get(
    "/policies",
    operation_id="listPolicies",
    responses=_LIST,
    response_model_exclude_none=True,
    dependencies=_VIEW,
)
async def list_policies(
    member: TheMember,
    room: TheRoom,
    policy_type: Annotated[PolicyTypeKey | None, Query(description="only this type")] = None,
    with_missing: Annotated[bool, Query(description="also those that are gone from the tenant")] = False,  # noqa: FBT002  a query parameter
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[PolicyView]:
    """List the inventory as the last listings said."""
    after = cursors.by_id(cursor, "policies")
    async with room.uow.begin(member.tenant_id) as tx:
        rows = await tx.policies.page(after=after, limit=limit + 1, policy_type=policy_type, with_missing=with_missing)
    page, following = cut(rows, limit, lambda one: cursors.encode("policies", one.id))
    return Page(items=[PolicyView.of(one) for one in page], next=following)
