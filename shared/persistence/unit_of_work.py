"""Transactions: short, never open across slow work; of one tenant each, or shared by several (ADR 23, 32)."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TypeAlias, TypeVar
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.domain.errors import CommitUnheard, ReinstateError, TransientError
from shared.persistence.archives import SqlArchives
from shared.persistence.asking import Alone, Asking, Member, Rounds
from shared.persistence.audit import AuditSheet, SqlAudit
from shared.persistence.audit_lines import SqlAuditLines
from shared.persistence.authority import SqlAuthority
from shared.persistence.backups import SqlBackups
from shared.persistence.budgets import SqlBudgets
from shared.persistence.database import translated
from shared.persistence.dead_messages import SqlDeadMessages
from shared.persistence.id_maps import SqlIdMaps
from shared.persistence.inbox import SqlInbox
from shared.persistence.ledger import SqlLedger
from shared.persistence.maintenance import SqlRunsInNeed
from shared.persistence.outbox import OutboxHints
from shared.persistence.outbox_writing import OutboxSheet, SqlOutbox
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
from shared.persistence.upstreams import SqlRedrives
from shared.persistence.vault import Keys, NoKeys, Vault
from shared.persistence.walls.declaring import declared
from shared.persistence.walls.roles import DbRole

R = TypeVar("R")

# Somebody may have died with a lock in hand: then those who share a transaction part, and one of them waits.
_LOCK_TIMEOUT = "250ms"
# And what is asked for several at a time joins their keys, of which there are few, however small a table was when the
# connection planned the statement: each is looked up by index.
_SHARED = select(
    func.set_config("lock_timeout", _LOCK_TIMEOUT, True),  # noqa: FBT003  PostgreSQL's `is_local`
    func.set_config("enable_seqscan", "off", True),  # noqa: FBT003  likewise
)


class SqlTransaction:
    """One tenant's work inside an open transaction, and the repositories that do it."""

    def __init__(
        self, asking: Asking, tenant_id: UUID, sheet: OutboxSheet, audited: AuditSheet, keys: Keys | None = None
    ) -> None:
        """Bind every repository to one tenant and its keys.

        What is sent is written on `sheet`, what is audited on `audited`.
        """
        self.asking = asking
        self.tenant_id = tenant_id
        self.sheet = sheet
        self.audit = SqlAudit(audited, tenant_id)
        self.keys = keys or NoKeys()
        self.runs = SqlRuns(asking, tenant_id)
        self.outbox = SqlOutbox(sheet, tenant_id, self.runs)

    @property
    def connection(self) -> AsyncConnection:
        """The transaction's; for who shares it, as much of it as executes statements."""
        return self.asking.connection

    @cached_property
    def ledger(self) -> SqlLedger:
        """What a lease's holder writes."""
        return SqlLedger(self.asking, self.tenant_id, self.keys)

    @cached_property
    def turns(self) -> SqlTurns:
        """Whose turn it is to take a free slot."""
        return SqlTurns(self.asking, self.tenant_id)

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
        return SqlPauses(self.asking, self.tenant_id)

    @cached_property
    def inbox(self) -> SqlInbox:
        """What came in before."""
        return SqlInbox(self.asking, self.tenant_id)

    @cached_property
    def redrives(self) -> SqlRedrives:
        """Which old commands somebody answers for."""
        return SqlRedrives(self.connection, self.tenant_id)

    @cached_property
    def authority(self) -> SqlAuthority:
        """Tenant and initiator of a run, read again at execution."""
        return SqlAuthority(self.asking, self.tenant_id, self.keys)

    @cached_property
    def audit_lines(self) -> SqlAuditLines:
        """What the audit trail says."""
        return SqlAuditLines(self.connection, self.tenant_id)

    @cached_property
    def tenants(self) -> SqlTenants:
        """The tenant and its members."""
        return SqlTenants(self.asking, self.tenant_id)

    @cached_property
    def selections(self) -> SqlSelections:
        """Whether what a start names belongs to the tenant."""
        return SqlSelections(self.asking, self.tenant_id)

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
        return SqlPolicies(self.asking, self.tenant_id, self.keys)

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


Work: TypeAlias = tuple[UUID, Callable[[SqlTransaction], Awaitable[R]]]  # a tenant, and what to do for it


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
        self._role: DbRole | None = None

    def acting_as(self, role: DbRole) -> "SqlUnitOfWork":
        """Return one over the same database whose transactions may do what this role may, and no more."""
        other = SqlUnitOfWork(self._engine, service=self._service, hints=self._hints, vault=self._vault)
        other._role = role
        return other

    @asynccontextmanager
    async def begin(self, tenant_id: UUID) -> AsyncIterator[SqlTransaction]:
        """Open a transaction; leaving the block commits, an exception rolls back.

        Raises `TransientError(SERVICE_UNAVAILABLE)` when the database does not answer. A cancellation during the commit
        leaves open whether it happened: callers are idempotent.
        """
        sheet, audited = self._sheet(), AuditSheet()
        with translated():
            async with declared(self._engine, [tenant_id], role=self._role) as connection:
                yield SqlTransaction(Alone(connection), tenant_id, sheet, audited, self._keys(tenant_id))
                await sheet.write(connection)
                await audited.write(connection)
        sheet.tell(self._hints)

    async def together(self, chains: Sequence[Sequence[Work[R]]]) -> list[list[R | ReinstateError]]:
        """Do the work of several tenants in one transaction: chains at the same time, each one's works in turn.

        Returns what each work led to, or why it was refused: a refusal takes back what its own work took, and nothing
        of the others'. Whatever else goes wrong is raised and rolls all of it back, a wait for somebody else's lock
        included: then each work has to be done by itself. `CommitUnheard`: the commit may have happened.
        """
        sheet, audited, is_done = self._sheet(), AuditSheet(), False
        whose = {tenant_id for chain in chains for tenant_id, _ in chain}
        try:
            with translated():
                async with declared(self._engine, whose, role=self._role) as connection:
                    await connection.execute(_SHARED)
                    rounds = Rounds(connection)
                    results = await rounds.work([self._in_turn(chain, rounds, sheet, audited) for chain in chains])
                    await sheet.write(connection)
                    await audited.write(connection)
                    is_done = True
        except TransientError as error:
            if is_done:
                raise CommitUnheard(error.code) from error
            raise
        sheet.tell(self._hints)
        return results

    async def _in_turn(
        self, chain: Sequence[Work[R]], rounds: Rounds, sheet: OutboxSheet, audited: AuditSheet
    ) -> list[R | ReinstateError]:
        return [await self._share(work, Member(rounds), sheet, audited) for work in chain]

    async def _share(
        self, work: Work[R], member: Member, sheet: OutboxSheet, audited: AuditSheet
    ) -> R | ReinstateError:
        tenant_id, do = work
        own, own_audited = sheet.part(), AuditSheet()
        transaction = SqlTransaction(member, tenant_id, own, own_audited, self._keys(tenant_id))
        try:
            result = await do(transaction)
        except ReinstateError as refusal:
            if member.has_changed:  # only a rollback takes that back
                raise
            await transaction.inbox.forget()
            return refusal
        sheet.extend(own)
        audited.extend(own_audited)
        return result

    def _keys(self, tenant_id: UUID) -> Keys | None:
        return self._vault.of(tenant_id) if self._vault else None

    def _sheet(self) -> OutboxSheet:
        return OutboxSheet(self._service, hands_over=self._hints.takes_rows)
