"""What callers get to see of a tenant and of what is paused there."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from shared.domain.operations import Role
from shared.front_door import Pause, Tenant

_TENANT = "0198c0de-0000-7000-8000-000000000001"
_PAUSE: dict[str, JsonValue] = {
    "operation": "restore.execute",
    "reason": "change freeze",
    "paused_by": "Mara",
    "since": "2026-03-02T09:30:00Z",
    "for_all_tenants": False,
}


class PauseView(BaseModel):
    """What is not taken up at present. Without `operation` it is everything."""

    model_config = ConfigDict(json_schema_extra={"examples": [_PAUSE]})

    operation: str | None = None
    reason: str
    paused_by: str
    since: datetime
    for_all_tenants: bool = Field(description="set by an administrator; it cannot be lifted for one tenant")

    @classmethod
    def of(cls, pause: Pause) -> "PauseView":
        """Show a pause."""
        return cls(
            operation=pause.operation,
            reason=pause.reason,
            paused_by=pause.paused_by,
            since=pause.since,
            for_all_tenants=pause.for_all_tenants,
        )


class TenantView(BaseModel):
    """A tenant as its members see it. `role` is the caller's."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"id": _TENANT, "name": "Contoso", "status": "active", "role": "operator", "pauses": []}]
        }
    )

    id: UUID
    name: str
    status: str
    role: Role
    pauses: Sequence[PauseView] = Field(default=(), description="what is not taken up at present, and why")

    @classmethod
    def of(cls, tenant: Tenant, role: Role, pauses: Sequence[Pause]) -> "TenantView":
        """Show a tenant to one of its members."""
        shown = [PauseView.of(pause) for pause in pauses]
        return cls(id=tenant.id, name=tenant.name, status=tenant.status, role=role, pauses=shown)
