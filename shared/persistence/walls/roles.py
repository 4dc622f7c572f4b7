"""The database's roles: one that each service logs in as, and narrow ones that a transaction steps into."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class DbRole(StrEnum):
    """A role of PostgreSQL. None owns anything, none bypasses row-level security, none inherits another's rights."""

    DISPATCHER = "reinstate_dispatcher"
    RESTORE_WORKER = "reinstate_restore_worker"
    BULK_WORKER = "reinstate_bulk_worker"
    NOTIFIER = "reinstate_notifier"
    OPERATOR = "reinstate_operator"  # administrators, with the command line

    # Nobody logs in as one of these. What spans tenants by nature does so under a role that can do nothing else.
    RELAY = "reinstate_relay"  # publishes the outbox, whichever tenants its rows are of
    WATCH = "reinstate_watch"  # sees how long the outbox waits, not what is in it
    DOORKEEPER = "reinstate_doorkeeper"  # knows who signs in, and which role that is where
    READER = "reinstate_reader"  # one person's notifications, in that person's tenants
    SWEEPER = "reinstate_sweeper"  # finds runs that nobody looks after, and forgets old messages
    COLLECTOR = "reinstate_collector"  # knows which dead messages are noted
    STEWARD = "reinstate_steward"  # adds tenants and people, pauses an operation for all
    NOTARY = "reinstate_notary"  # reads every trail, and keeps anchors of their ends
    PREVIEW = "reinstate_preview"  # reads what a preview plans with; writes nothing


LOGINS: Final[Mapping[str, DbRole]] = {  # by the name under which `reinstate serve` knows the service
    "dispatcher": DbRole.DISPATCHER,
    "restore-worker": DbRole.RESTORE_WORKER,
    "bulk-worker": DbRole.BULK_WORKER,
    "notifier": DbRole.NOTIFIER,
    "operator": DbRole.OPERATOR,
}

MAY_BECOME: Final[Mapping[DbRole, frozenset[DbRole]]] = {
    DbRole.DISPATCHER: frozenset(
        {
            DbRole.RELAY,
            DbRole.WATCH,
            DbRole.DOORKEEPER,
            DbRole.READER,
            DbRole.SWEEPER,
            DbRole.COLLECTOR,
            DbRole.NOTARY,
        }
    ),
    DbRole.RESTORE_WORKER: frozenset({DbRole.RELAY, DbRole.WATCH, DbRole.PREVIEW}),
    DbRole.BULK_WORKER: frozenset({DbRole.RELAY, DbRole.WATCH}),
    DbRole.NOTIFIER: frozenset({DbRole.WATCH}),
    DbRole.OPERATOR: frozenset({DbRole.STEWARD, DbRole.COLLECTOR, DbRole.NOTARY}),
}
