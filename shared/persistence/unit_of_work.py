"""Transactions: one tenant each, short, never open across slow work."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.persistence.archives import SqlArchives
from shared.persistence.audit import SqlAudit
from shared.persistence.authority import SqlAuthority
from shared.persistence.backups import SqlBackups
from shared.persistence.budgets import SqlBudgets
from shared.persistence.database import translated
from shared.persistence.dead_messages import SqlDeadMessages
from shared.persistence.id_maps import SqlIdMaps
from shared.persistence.inbox import SqlInbox
from shared.persistence.ledger import SqlLedger
from shared.persistence.maintenance import SqlRunsInNeed
from shared.persistence.notifications import SqlNotifications
from shared.persistence.outbox import OutboxHints, SqlOutbox
from shared.persistence.pauses import SqlPauses
from shared.persistence.policies import SqlPolicies
from shared.persistence.refusals import SqlRefusals
from shared.persistence.restores import SqlRestores
from shared.persistence.retries import SqlRetries
from shared.persistence.run_lists import SqlRunLists
from shared.persistence.runs import SqlRuns
from shared.persistence.selections import SqlSelections
from shared.persistence.snapshots import SqlSnapshots
from shared.persistence.tenants import SqlTenants
from shared.persistence.turns import SqlTurns
from shared.persistence.undoing import SqlUndos
from shared.persistence.vault import Keys, NoKeys, Vault


class SqlTransaction:
    """One open transaction and the repositories that work inside it."""

    def __init__(
        self,
        connection: AsyncConnection,
        tenant_id: UUID,
        service: str,
        *,
        hands_over: bool = False,
        keys: Keys | None = None,
    ) -> None:
        """Bind every repository to one tenant and its keys; `hands_over`: as `SqlOutbox` takes it."""
        self.connection = connection
        self.tenant_id = tenant_id
        self.keys = keys or NoKeys()
        self.runs = SqlRuns(connection, tenant_id)
        self.outbox = SqlOutbox(connection, tenant_id, service, self.runs, hands_over=hands_over)

    @cached_property
    def ledger(self) -> SqlLedger:
        """What a lease's holder writes."""
        return SqlLedger(self.connection, self.tenant_id, self.keys)

    @cached_property
    def turns(self) -> SqlTurns:
        """Whose turn it is to take a free slot."""
        return SqlTurns(self.connection, self.tenant_id)

    @cached_property
    def retries(self) -> SqlRetries:
        """What a retry takes over from a run that is over."""
        return SqlRetries(self.connection, self.tenant_id, self.ledger)

    @cached_property
    def undos(self) -> SqlUndos:
        """What an execution replaced."""
        return SqlUndos(self.connection, self.tenant_id)

    @cached_property
    def pauses(self) -> SqlPauses:
        """What is paused for the tenant."""
        return SqlPauses(self.connection, self.tenant_id)

    @cached_property
    def inbox(self) -> SqlInbox:
        """What came in before."""
        return SqlInbox(self.connection, self.tenant_id)

    @cached_property
    def authority(self) -> SqlAuthority:
        """Tenant and initiator of a run, read again at execution."""
        return SqlAuthority(self.connection, self.tenant_id, self.keys)

    @cached_property
    def audit(self) -> SqlAudit:
        """Who did what."""
        return SqlAudit(self.connection, self.tenant_id)

    @cached_property
    def notifications(self) -> SqlNotifications:
        """What people are told."""
        return SqlNotifications(self.connection, self.tenant_id)

    @cached_property
    def tenants(self) -> SqlTenants:
        """The tenant and its members."""
        return SqlTenants(self.connection, self.tenant_id)

    @cached_property
    def selections(self) -> SqlSelections:
        """Whether what a start names belongs to the tenant."""
        return SqlSelections(self.connection, self.tenant_id)

    @cached_property
    def run_lists(self) -> SqlRunLists:
        """Pages of runs and their items."""
        return SqlRunLists(self.connection, self.tenant_id, self.keys)

    @cached_property
    def in_need(self) -> SqlRunsInNeed:
        """Runs that the sweeper looks after."""
        return SqlRunsInNeed(self.connection, self.tenant_id)

    @cached_property
    def policies(self) -> SqlPolicies:
        """The inventory."""
        return SqlPolicies(self.connection, self.tenant_id, self.keys)

    @cached_property
    def snapshots(self) -> SqlSnapshots:
        """Captured contents by hash."""
        return SqlSnapshots(self.connection, self.tenant_id, self.keys)

    @cached_property
    def backups(self) -> SqlBackups:
        """Backup sets and their items."""
        return SqlBackups(self.connection, self.tenant_id, self.keys)

    @cached_property
    def archives(self) -> SqlArchives:
        """Finished exports."""
        return SqlArchives(self.connection, self.tenant_id, self.keys)

    @cached_property
    def budgets(self) -> SqlBudgets:
        """What the tenant's system may still be asked."""
        return SqlBudgets(self.connection, self.tenant_id)

    @cached_property
    def id_maps(self) -> SqlIdMaps:
        """What executions made of the ids of their backups."""
        return SqlIdMaps(self.connection, self.tenant_id)

    @cached_property
    def restores(self) -> SqlRestores:
        """What previews and executions keep beside the ledger."""
        return SqlRestores(self.connection, self.tenant_id, self.ledger, self.keys)

    @cached_property
    def dead_messages(self) -> SqlDeadMessages:
        """Messages that nobody could work with."""
        return SqlDeadMessages(self.connection, self.tenant_id)

    @cached_property
    def refusals(self) -> SqlRefusals:
        """Outbox rows that the broker refused."""
        return SqlRefusals(self.connection, self.tenant_id)


class SqlUnitOfWork:
    """`UnitOfWork` over PostgreSQL for one service."""

    def __init__(
        self, engine: AsyncEngine, *, service: str, hints: OutboxHints | None = None, vault: Vault | None = None
    ) -> None:
        """Send outbox rows as `service`; `hints` wakes its relay after a commit.

        Without a `vault` nothing that is sealed can be read, and nothing that must be sealed can be written.
        """
        self._vault = vault
        self._engine = engine
        self._service = service
        self._hints = hints or OutboxHints()

    @asynccontextmanager
    async def begin(self, tenant_id: UUID) -> AsyncIterator[SqlTransaction]:
        """Open a transaction; leaving the block commits, an exception rolls back.

        Raises `TransientError(SERVICE_UNAVAILABLE)` when the database does not answer. A cancellation during the commit
        leaves open whether it happened: callers are idempotent.
        """
        keys = self._vault.of(tenant_id) if self._vault else None
        with translated():
            async with self._engine.begin() as connection:
                transaction = SqlTransaction(
                    connection, tenant_id, self._service, hands_over=self._hints.takes_rows, keys=keys
                )
                yield transaction
                await transaction.outbox.write()
        if transaction.outbox.used:
            for delay in transaction.outbox.delays:
                self._hints.expect(delay)
            self._hints.notify(transaction.outbox.claimed)
