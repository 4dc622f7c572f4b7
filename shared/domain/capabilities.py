"""Who may do what, in one table: each route, operation and command names a capability and asks here for its role.

Nothing is allowed that is not named: the dispatcher does not start with a route that has no capability.
"""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """A person's role in one tenant, weakest first."""

    READONLY = "readonly"
    OPERATOR = "operator"
    MANAGER = "manager"
    OWNER = "owner"

    @property
    def rank(self) -> int:
        """Position in the ladder; a role may do what a weaker one may."""
        return list(Role).index(self)

    def may(self, capability: "Capability") -> bool:
        """Tell whether this role in a tenant is strong enough there; True for what needs no role at all."""
        needed = capability.role
        return needed is None or self.rank >= needed.rank


class Capability(StrEnum):
    """Something that somebody may be allowed to do. A name is stable: audits and documents repeat it."""

    SESSION = "session.own"
    NOTIFICATIONS = "notification.own"
    TENANT_VIEW = "tenant.view"
    RUN_VIEW = "run.view"
    BACKUP_VIEW = "backup.view"
    ARCHIVE_DOWNLOAD = "archive.download"
    INVENTORY_REFRESH = "inventory.refresh"
    BACKUP_CREATE = "backup.create"
    BACKUP_EXPORT = "backup.export"
    BACKUP_IMPORT = "backup.import"
    RESTORE_PREVIEW = "restore.preview"
    RESTORE_EXECUTE = "restore.execute"
    WORK_PAUSE = "work.pause"

    @property
    def role(self) -> Role | None:
        """The weakest role that has it in a tenant; None for what everybody has who is signed in."""
        return GRANTS[self].role

    @property
    def text(self) -> str:
        """What it lets somebody do."""
        return GRANTS[self].text


@dataclass(frozen=True, slots=True)
class Grant:
    """Who has a capability. `role` is the weakest that has it; None: who is signed in, whatever the tenant."""

    role: Role | None
    text: str


# The one table. A line that is missing is found by a test and refuses everybody: `role` raises `KeyError`.
GRANTS: dict[Capability, Grant] = {
    Capability.SESSION: Grant(None, "use the console, and sign out of it"),
    Capability.NOTIFICATIONS: Grant(None, "read and put away one's own notifications"),
    Capability.TENANT_VIEW: Grant(Role.READONLY, "see the tenant, its state and what is paused"),
    Capability.RUN_VIEW: Grant(Role.READONLY, "see and follow runs, their items, previews and id maps"),
    Capability.BACKUP_VIEW: Grant(Role.READONLY, "see backup sets, their items and the inventory"),
    Capability.ARCHIVE_DOWNLOAD: Grant(Role.READONLY, "download what an export made"),
    Capability.INVENTORY_REFRESH: Grant(Role.OPERATOR, "refresh the inventory"),
    Capability.BACKUP_CREATE: Grant(Role.OPERATOR, "capture policies and make or extend backup sets"),
    Capability.BACKUP_EXPORT: Grant(Role.OPERATOR, "export policies and backup sets"),
    Capability.BACKUP_IMPORT: Grant(Role.MANAGER, "import a backup set from an archive"),
    Capability.RESTORE_PREVIEW: Grant(Role.MANAGER, "preview a restore"),
    Capability.RESTORE_EXECUTE: Grant(Role.MANAGER, "execute a restore, and preview its undo"),
    Capability.WORK_PAUSE: Grant(Role.MANAGER, "pause and resume the tenant's work"),
}
