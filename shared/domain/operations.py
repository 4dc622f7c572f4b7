"""What Reinstate can be asked to do, in one table: every edge, worker and document reads it from here."""

from dataclasses import dataclass
from enum import StrEnum

from shared.domain.capabilities import Capability, Role
from shared.domain.errors import PermanentError, SafeCode
from shared.domain.runs import Lane, RunType

__all__ = ["OPERATIONS", "Identity", "Operation", "Role", "Target", "capabilities_of", "operation_named"]


class Identity(StrEnum):
    """What makes two starts the same (decision D3)."""

    WHILE_ACTIVE = "while_active"  # tenant + operation + target; the user is not part of it
    PER_REQUEST = "per_request"  # every click its own run: run now, retry
    FOREVER_PER_SLOT = "forever_per_slot"  # schedules


class Target(StrEnum):
    """What `target_id` of a start refers to."""

    NONE = "none"
    POLICY = "policy"
    BACKUP_SET = "backup_set"
    PREVIEW = "restore_run"


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be started. `resource` and `action` are the words of rows and messages."""

    resource: str
    action: str
    run_type: RunType
    capability: Capability  # what starting, aborting and retrying it needs, and having it worked
    target: Target
    selects: Target  # what the ids of a selection refer to; NONE: the operation takes no selection
    writes: bool = False  # does it write to the tenant's system? At most one such run per tenant at a time
    lane: Lane = Lane.BACKGROUND
    identity: Identity = Identity.WHILE_ACTIVE

    @property
    def name(self) -> str:
        """`resource.action`, the stable name of messages, audit rows and documents."""
        return f"{self.resource}.{self.action}"

    @property
    def role(self) -> Role | None:
        """The weakest role that may start it, by the table of capabilities."""
        return self.capability.role


OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("policy", "sync", RunType.BULK, Capability.INVENTORY_REFRESH, Target.NONE, Target.NONE),
        Operation(
            "policy",
            "capture_snapshot",
            RunType.BULK,
            Capability.BACKUP_CREATE,
            Target.POLICY,
            Target.NONE,
            lane=Lane.INTERACTIVE,
        ),
        Operation("policy", "export", RunType.BULK, Capability.BACKUP_EXPORT, Target.NONE, Target.POLICY),
        Operation("backup_set", "create", RunType.BULK, Capability.BACKUP_CREATE, Target.NONE, Target.POLICY),
        Operation(
            "backup_set", "add_policies", RunType.BULK, Capability.BACKUP_CREATE, Target.BACKUP_SET, Target.POLICY
        ),
        Operation("backup_set", "export", RunType.BULK, Capability.BACKUP_EXPORT, Target.BACKUP_SET, Target.NONE),
        Operation(
            "restore",
            "preview",
            RunType.RESTORE,
            Capability.RESTORE_PREVIEW,
            Target.BACKUP_SET,
            Target.BACKUP_SET,
            lane=Lane.INTERACTIVE,
        ),
        Operation(
            "restore",
            "execute",
            RunType.RESTORE,
            Capability.RESTORE_EXECUTE,
            Target.PREVIEW,
            Target.NONE,
            writes=True,
            lane=Lane.INTERACTIVE,
        ),
    )
}


def operation_named(name: str) -> Operation:
    """Look an operation up; raise `PermanentError` with `operation.unknown` when there is none."""
    try:
        return OPERATIONS[name]
    except KeyError:
        raise PermanentError(SafeCode.OPERATION_UNKNOWN, operation=name) from None


def capabilities_of(run_type: RunType) -> tuple[Capability, ...]:
    """Return what runs of this type may need: which of them is the operation's to say."""
    return tuple(dict.fromkeys(one.capability for one in OPERATIONS.values() if one.run_type is run_type))
