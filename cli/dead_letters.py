"""What an operator does with dead messages: find them, then send them again, put them aside or drop them.

One at a time: the broker confirms the copy, the database gets the line for the audit trail, and only then the message
leaves its queue. Whatever is interrupted can be repeated.
"""

import getpass
import hashlib
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from cli.administration import entitled
from cli.console import CliFailure, ExitCode, usage
from cli.pacing import Pace
from cli.settings import amqp_url, database_url
from shared.contracts.names import ServiceName
from shared.contracts.signatures import SignatureHeader
from shared.domain.audit_chain import HOUSE
from shared.domain.dead_messages import OUTBOX, Resolution
from shared.domain.errors import ConflictError, PermanentError, ReinstateError, SafeCode
from shared.messaging.connection import BrokerAddress, CertificateUnusable
from shared.messaging.dead_letters import DeadLetters, Held, park, replay
from shared.messaging.letters import Letter, Origin
from shared.messaging.publisher import ConfirmedPublisher, Unroutable
from shared.messaging.topology import STORES
from shared.persistence.database import create_engine
from shared.persistence.dead_messages import SqlDeadMessageIndex
from shared.persistence.refusals import RefusedRow, SqlRefusalList
from shared.persistence.unit_of_work import SqlTransaction, SqlUnitOfWork
from shared.persistence.upstreams import Redriven
from shared.ports import AuditEntry

LOCK_SECONDS = 30.0  # until somebody else who looks counts as in the way
Key = tuple[str, str | None, datetime | None, bytes]


class Action(StrEnum):
    """What can be done with a dead message."""

    REPLAY = "replay"
    PARK = "park"
    DROP = "drop"

    @property
    def resolution(self) -> Resolution:
        """What it means for the message."""
        return {"replay": Resolution.REPLAYED, "park": Resolution.PARKED, "drop": Resolution.DROPPED}[self.value]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which messages are meant: those that fit everything that is given."""

    services: Collection[str] = ()
    queues: Collection[str] = ()
    codes: Collection[str] = ()
    message_ids: Collection[str] = ()
    tenant_id: UUID | None = None
    run_id: UUID | None = None
    older_than: timedelta | None = None
    newer_than: timedelta | None = None

    def __post_init__(self) -> None:
        """Refuse names that do not exist: a filter that fits nothing would look like an empty queue."""
        known: list[tuple[str, Collection[str], list[str]]] = [
            ("service", self.services, [service.value for service in ServiceName]),
            ("queue", self.queues, [*STORES, OUTBOX]),
            ("code", self.codes, [code.value for code in SafeCode]),
        ]
        for what, given, names in known:
            for name in given:
                if name not in names:
                    listed = "see docs/reference/errors.md" if what == "code" else f"it is one of {', '.join(names)}"
                    raise usage(f"there is no {what} {name}", next_step=listed)

    @property
    def stores(self) -> list[str]:
        """The queues worth a look."""
        return [
            store
            for store in STORES
            if (not self.queues or store in self.queues)
            and (not self.services or store.partition(".")[0] in self.services)
        ]

    @property
    def with_outbox(self) -> bool:
        """Whether refused outbox rows can be meant."""
        return not self.queues or OUTBOX in self.queues

    def covers(self, letter: Letter) -> bool:
        """Tell whether a message is meant. One that does not say since when it waits has no age."""
        age = datetime.now(UTC) - letter.since if letter.since else None
        return (
            (not self.services or letter.service in self.services)
            and (not self.codes or letter.code in self.codes)
            and (not self.message_ids or letter.message_id in self.message_ids)
            and (self.tenant_id is None or letter.tenant_id == self.tenant_id)
            and (self.run_id is None or (letter.run or (None, None))[1] == self.run_id)
            and (self.older_than is None or (age is not None and age >= self.older_than))
            and (self.newer_than is None or (age is not None and age <= self.newer_than))
        )


@dataclass
class Found:
    """Messages that fit, up to a limit. `unseen` counts, by queue, what no look could reach."""

    letters: list[Letter] = field(default_factory=list)
    total: int = 0
    unseen: dict[str, int] = field(default_factory=dict)


@dataclass
class Outcome:
    """What was done, and what stayed where it was and why."""

    done: list[Letter] = field(default_factory=list)
    left: list[tuple[Letter, str]] = field(default_factory=list)
    stopped_by: ReinstateError | None = None


class Desk:
    """One operator at the dead queues. Raises `CliFailure` while another one is there."""

    def __init__(self, letters: DeadLetters, publisher: ConfirmedPublisher, engine: AsyncEngine, actor: str) -> None:
        """Audit as `actor`."""
        self._dead = letters
        self._publisher = publisher
        self._index = SqlDeadMessageIndex(engine)
        self._refusals = SqlRefusalList(engine)
        self._uow = SqlUnitOfWork(engine, service="cli")
        self._actor = actor

    async def find(self, wanted: Wanted, *, limit: int, scan: int) -> Found:
        """Look through the queues, `scan` messages of each at most, and keep up to `limit` of those that fit."""
        found = Found()

        def keep(letter: Letter) -> None:
            if wanted.covers(letter):
                found.total += 1
                if len(found.letters) < limit:
                    found.letters.append(letter)

        async with self._alone():
            for store in wanted.stores:
                async with self._dead.look(store, limit=scan) as reading:
                    seen = 0
                    async for held in reading:
                        seen += 1
                        keep(held.letter)
                if seen < reading.depth:
                    found.unseen[store] = reading.depth - seen
        if wanted.with_outbox:
            for row in await self._refusals.oldest(scan):
                keep(letter_of_row(row))
        return found

    async def settle(
        self,
        action: Action,
        chosen: list[Letter],
        reason: str,
        *,
        scan: int,
        rate: float | None,
        progress: Callable[[], None],
    ) -> Outcome:
        """Do it to those of the chosen messages that are still there; an outage ends it early."""
        outcome, keys = Outcome(), {_key(letter) for letter in chosen}
        pace = Pace(rate)
        try:
            async with self._alone():
                for store in dict.fromkeys(letter.queue for letter in chosen if letter.queue != OUTBOX):
                    async with self._dead.look(store, limit=scan) as reading:
                        async for held in reading:
                            if _key(held.letter) in keys:
                                await pace.turn()
                                await self._one(action, held, reason, outcome)
                                progress()
            for letter in chosen:
                if letter.queue == OUTBOX:
                    await pace.turn()
                    await self._one_row(action, letter, reason, outcome)
                    progress()
        except ReinstateError as error:
            outcome.stopped_by = error
        return outcome

    async def _one(self, action: Action, held: Held, reason: str, outcome: Outcome) -> None:
        letter = held.letter
        try:
            if action is Action.REPLAY:
                await self._authorise(letter, reason)
                await replay(held, self._publisher)
            elif action is Action.PARK:
                await park(held, self._publisher)
        except (PermanentError, Unroutable) as error:
            outcome.left.append((letter, str(error.context.get("reason") or error.code)))
            return
        await self._note(action, letter, reason)
        await held.take()
        outcome.done.append(letter)

    async def _authorise(self, letter: Letter, reason: str) -> None:
        """Answer for the age of a signed command before it is sent: the dispatcher takes it as if it were new.

        Everything else about it is checked again, with the rights that its sender has now.
        """
        if letter.message_id is None or SignatureHeader.SIGNATURE not in letter.headers:
            return
        if letter.tenant_id is None or not await self._index.known_tenants([letter.tenant_id]):
            return
        message = Redriven(letter.message_id, hashlib.sha256(letter.body).hexdigest())
        async with self._uow.begin(letter.tenant_id) as tx:
            await tx.redrives.authorise(message, by=self._actor, reason=reason)

    async def _note(self, action: Action, letter: Letter, reason: str) -> None:
        if letter.tenant_id is None or not await self._index.known_tenants([letter.tenant_id]):
            async with self._uow.begin(HOUSE) as tx:  # of no tenant of ours, and somebody settled it all the same
                await tx.audit.add(self._entry(action, letter, reason))
            return
        async with self._uow.begin(letter.tenant_id) as tx:
            if (noted := letter.noted()) is not None:
                await tx.dead_messages.resolve(noted.queue, [noted.message_id], action.resolution)
            await tx.audit.add(self._entry(action, letter, reason))

    async def _one_row(self, action: Action, letter: Letter, reason: str, outcome: Outcome) -> None:
        """Settle a row of the outbox: the relay of its service sends it, so nothing is published here."""
        if letter.tenant_id is None or letter.message_id is None or action is Action.PARK:
            outcome.left.append((letter, "a row of the outbox is kept already: replay or drop it"))
            return
        try:
            async with self._uow.begin(letter.tenant_id) as tx:
                await self._settle_row(tx, action, UUID(letter.message_id))
                await tx.audit.add(self._entry(action, letter, reason))
        except ConflictError:
            outcome.left.append((letter, "somebody else settled it"))
            return
        outcome.done.append(letter)

    async def _settle_row(self, tx: SqlTransaction, action: Action, row_id: UUID) -> None:
        settle = tx.refusals.replay if action is Action.REPLAY else tx.refusals.drop
        if not await settle(row_id):
            raise ConflictError(SafeCode.RESOURCE_NOT_FOUND)

    def _entry(self, action: Action, letter: Letter, reason: str) -> AuditEntry:
        run_type, run_id = letter.run or (None, None)
        return AuditEntry(
            action=f"message.{action.resolution}",
            outcome="success",
            actor_type="system",
            actor_name=self._actor,
            target_type=run_type.value if run_type else None,
            target_id=run_id,
            summary=f"A dead message was {action.resolution}",
            context={"reason": reason, "queue": letter.queue, "message_id": letter.message_id},
        )

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        async with self._index.alone(wait_seconds=LOCK_SECONDS) as got:
            if not got:
                raise CliFailure(
                    "somebody else works in the dead queues",
                    exit_code=ExitCode.REFUSED,
                    code="dead.in_use",
                    next_step="try again when they are done",
                )
            yield


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    """Open broker and database of AMQP_URL and DATABASE_URL for the operating system's user."""
    try:
        engine = create_engine(database_url(), service="cli", pool_size=2)
    except ValueError as error:
        raise usage(str(error), code="cli.setting_invalid") from None
    async with AsyncExitStack() as stack:
        stack.push_async_callback(engine.dispose)
        stack.enter_context(entitled("use the operator's address: reinstate db roles"))
        try:
            address = BrokerAddress.of(amqp_url())
        except CertificateUnusable as error:
            raise usage(str(error), code="cli.setting_invalid") from None
        letters = await stack.enter_async_context(DeadLetters(address, "cli"))
        publisher = await stack.enter_async_context(ConfirmedPublisher(address, "cli"))
        yield Desk(letters, publisher, engine, f"cli:{getpass.getuser()}")


def letter_of_row(row: RefusedRow) -> Letter:
    """Show a row of the outbox as what it would have become."""
    return Letter(
        queue=OUTBOX,
        message_id=str(row.id),
        type=row.type,
        code=SafeCode(row.refused_code) if row.refused_code in set(SafeCode) else SafeCode.INTERNAL_UNEXPECTED,
        unreadable=None,
        origin=Origin(row.exchange, row.routing_key, OUTBOX, None),
        failed_at=row.created_at,
        sent_at=row.created_at,
        attempt=row.attempts,
        deliveries=0,
        correlation_id=row.correlation_id,
        app_id=f"reinstate.{row.service}",
        content_type=None,
        headers={"tenantid": str(row.tenant_id)},
        body=row.body,
    )


def _key(letter: Letter) -> Key:
    """Tell messages apart; the id alone would not do: an outsider's may have none, or another's."""
    return (letter.queue, letter.message_id, letter.since, letter.body)
