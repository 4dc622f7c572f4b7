"""The core in a world that goes wrong, driven step by step by a test that chooses what happens next.

The real ledger and engine; a broker that loses, doubles and reorders; a database that fails before or after its commit;
a target that loses answers; workers that die at any failpoint. One process, one event loop.
"""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from services.dispatcher.metrics import Metrics
from services.dispatcher.sweeper import Sweeper
from services.restore_worker.operations import restore_works
from shared.contracts.names import Exchange
from shared.contracts.work import WakeUp
from shared.domain.errors import SafeCode, ThrottledError, TransientError
from shared.domain.runs import RunStatus
from shared.engine.engine import Engine
from shared.engine.settings import EngineSettings
from shared.persistence.maintenance import Bounds, SqlMaintenance
from shared.persistence.outbox import OutboxHints, SqlOutboxSource
from shared.persistence.unit_of_work import SqlTransaction, SqlUnitOfWork
from shared.ports import RunRecord
from shared.runtime import failpoints
from tests.support.engine_lab import Lab
from tests.support.fake_writable_tenant import FakeTenant, Fault, lost_after, lost_before, raising
from tests.support.restore_lab import AT_ONCE, RestoreLab, a_policy

POLICIES = 5
DRAIN_ROUNDS = 80  # deliveries until everything must have ended once nothing goes wrong any more
AT_ONCE_BOUNDS = Bounds(wake_after=timedelta(), wait_grace=timedelta(), abort_grace=timedelta())

FAULTS: dict[str, Fault] = {
    "lost_after": lost_after,
    "lost_before": lost_before,
    "unavailable": raising(TransientError(SafeCode.GRAPH_UNAVAILABLE)),
    "throttled": raising(ThrottledError(retry_after=0.0)),
}


class Crash(BaseException):
    """A process dies here."""


@dataclass
class Message:
    """A wake-up in the broker's queue."""

    id: UUID
    wake_up: WakeUp
    redelivered: bool = False


@dataclass
class FlakyUnitOfWork:
    """Fails the next transactions as told: before it begins, or after it has committed and its answer is lost."""

    real: SqlUnitOfWork
    troubles: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def begin(self, tenant_id: UUID) -> AsyncIterator[SqlTransaction]:
        trouble = self.troubles.pop(0) if self.troubles else ""
        if trouble == "before":
            raise TransientError(SafeCode.SERVICE_UNAVAILABLE)
        async with self.real.begin(tenant_id) as tx:
            yield tx
        if trouble == "after":
            raise TransientError(SafeCode.SERVICE_UNAVAILABLE)


class CoreSim:
    """One tenant, two workers, one queue."""

    def __init__(self, world: Lab, tenant_id: UUID) -> None:
        self.world = world
        self.here = RestoreLab(world, FakeTenant(), tenant_id)
        self.uow = FlakyUnitOfWork(world.uow)
        self.queue: list[Message] = []
        self.events: list[dict[str, Any]] = []
        self.runs: list[RunRecord] = []
        self.seen_terminal: dict[UUID, RunStatus] = {}
        self.epochs: dict[UUID, int] = defaultdict(int)
        self.backup: UUID | None = None
        self.source = SqlOutboxSource(world.engine, "lab", OutboxHints())
        self.workers = [self._worker(name) for name in ("one", "two")]
        maintenance = SqlMaintenance(world.engine, AT_ONCE_BOUNDS)
        self.sweeper = Sweeper(maintenance, world.uow, AT_ONCE_BOUNDS, Metrics())

    def _worker(self, name: str) -> Engine:
        return Engine(
            self.uow,
            self.world.keeper,
            restore_works(self.uow, self.here.connectors, intent_grace=timedelta()),
            EngineSettings(
                owner=f"{name}:{uuid4().hex[:6]}", retry=AT_ONCE, slice_items=3, flush_items=2, concurrency=2
            ),
        )

    async def set_up(self) -> None:
        """Fill the tenant, back it up."""
        for number in range(POLICIES):
            self.here.tenant.add("deviceConfiguration", a_policy(f"Policy {number}", number=number))
        self.backup = await self.here.back_up()

    def drift(self, seed: int) -> None:
        """Change, delete or leave each policy, as the bits of `seed` say."""
        for number, key in enumerate(sorted(self.here.tenant.objects)):
            what = (seed >> (2 * number)) & 3
            if what == 1:
                del self.here.tenant.objects[key]
            elif what == 2:
                stored = self.here.tenant.objects[key]
                stored.payload["number"] = 1000 + seed
                stored.version += 1

    async def start_preview(self) -> None:
        """Queue a preview with its wake-up, as the dispatcher does."""
        await self._started(await self.here._add_run("restore.preview", self.backup))

    async def start_execution(self) -> bool:
        """Queue an execution of the newest finished preview; False when there is none."""
        for run in reversed(self.runs):
            now = await self.world.get(run)
            if not now.writes and now.status is RunStatus.SUCCEEDED:
                await self._started(await self.here.start(now))
                return True
        return False

    async def _started(self, run: RunRecord) -> None:
        self.runs.append(run)
        async with self.world.uow.begin(run.tenant_id) as tx:
            await tx.outbox.wake(run)

    async def relay(self, *, loses_deletion: bool = False) -> None:
        """Publish what is due; a relay that dies before it deletes publishes again later."""
        await self.world.rows("UPDATE outbox SET claimed_until = NULL, available_at = now() RETURNING 1")
        rows = await self.source.claim(limit=100)
        for row in rows:
            if row.exchange == Exchange.WORK:
                self.queue.append(Message(row.id, WakeUp.model_validate_json(row.body)))
            else:
                self.events.append(json.loads(row.body))
        if not loses_deletion:
            await self.source.published(rows)

    async def deliver(self, index: int, worker: int, failpoint: str | None = None, passage: int = 1) -> None:
        """Hand one message to a worker; it is acknowledged only if the worker returns."""
        message = self.queue.pop(index % len(self.queue))
        passed = 0

        def trap() -> None:
            nonlocal passed
            passed += 1
            if passed == passage:
                raise Crash

        engine = self.workers[worker % len(self.workers)]
        try:
            with failpoints.armed(failpoint, trap) if failpoint else nullcontext():
                await engine.wake(message.wake_up, message_id=message.id, redelivered=message.redelivered)
        except (Crash, TransientError):
            self.queue.append(replace(message, redelivered=True))
        # What a dead worker had under way may still land, as a packet on the wire would: before the next step.
        if under_way := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(under_way, timeout=5)

    async def expire_leases(self) -> None:
        """Time passes: leases lapse, waits are over."""
        for table in ("restore_runs",):
            await self.world.rows(
                f"UPDATE {table} SET lease_until = clock_timestamp() - interval '1 s' "  # noqa: S608  a constant
                "WHERE lease_until IS NOT NULL RETURNING 1"
            )
        await self.world.rows("UPDATE restore_run_items SET not_before = NULL RETURNING 1")

    async def sweep(self) -> None:
        """One sweep of a replica."""
        await self.sweeper.sweep()

    async def abort(self, index: int) -> None:
        """Somebody asks a run to stop."""
        run = self.runs[index % len(self.runs)]
        async with self.world.uow.begin(run.tenant_id) as tx:
            await tx.runs.request_abort(run.run_type, run.id)

    async def drain(self) -> None:
        """Nothing goes wrong any more: every run must end (I5)."""
        self.uow.troubles.clear()
        self.here.tenant.faults.clear()
        for _ in range(DRAIN_ROUNDS):
            await self.expire_leases()
            await self.sweep()
            await self.relay()
            while self.queue:
                await self.deliver(0, 0)
            states = [(await self.world.get(run)).status for run in self.runs]
            if all(status.is_terminal for status in states):
                await self.relay()
                return
        raise AssertionError(f"runs did not end: {states}")

    async def check(self) -> None:
        """Hold the invariants that are true at every moment."""
        rows = await self.world.rows("SELECT * FROM restore_runs WHERE tenant_id = :t", t=self.here.tenant_id)
        for row in rows:
            await self._check_run(row)
        self._check_journal({row["id"]: row["is_dry_run"] for row in rows})

    async def _check_run(self, row: dict[str, Any]) -> None:
        counted = await self.world.rows(
            "SELECT state, count(*) AS items FROM restore_run_items WHERE run_id = :run GROUP BY state", run=row["id"]
        )
        states = Counter({one["state"]: one["items"] for one in counted})
        failed = states["failed"] + states["unknown"]
        assert (row["succeeded"], row["failed"], row["skipped"]) == (states["succeeded"], failed, states["skipped"])
        assert row["lease_epoch"] >= self.epochs[row["id"]], "I4: an epoch went back"
        self.epochs[row["id"]] = row["lease_epoch"]
        status = RunStatus(row["status"])
        if status.is_terminal:
            assert self.seen_terminal.setdefault(row["id"], status) is status, "I7: a finished run changed"
            assert not states["intent"] + states["pending"], "I7: a finished run has open items"

    def _check_journal(self, dry_runs: dict[UUID, bool]) -> None:
        journal = self.here.tenant.journal
        assert not [write for write in journal if dry_runs[write.tag.run_id]], "I8: a preview wrote"
        calls = Counter((write.tag.run_id, write.tag.item_id, write.method) for write in journal)
        assert max(calls.values(), default=0) <= 1, "I2: an item was written twice"

    async def check_end(self) -> None:
        """Hold what is true once everything has ended."""
        await self.check()
        assert not await self.world.rows("SELECT 1 FROM outbox"), "I6: messages are left"
        for run in self.runs:
            status = [e for e in self.events if e["run_id"] == str(run.id) and e["kind"] == "status"]
            ends = {e["sequence"]: e["status"] for e in status if RunStatus(e["status"]).is_terminal}
            assert len(ends) == 1, f"I6: one end, told as {ends}"
            sequences = {e["sequence"] for e in self.events if e["run_id"] == str(run.id)}
            assert sequences == set(range(2, (await self.world.get(run)).event_seq + 1)), "I6: a gap in the sequence"
