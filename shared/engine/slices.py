"""One slice of a run: items side by side, intents and outcomes committed in groups."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import structlog

from shared.connectors.port import CallTag, TenantConnection
from shared.contracts.events import EventKind
from shared.domain.errors import (
    LeaseLost,
    ReinstateError,
    RunFatalError,
    SafeCode,
    ThrottledError,
    TransientError,
)
from shared.domain.items import Outcome
from shared.domain.retry import RetryPolicy
from shared.engine.errors import first_error
from shared.engine.guard import LeaseGuard
from shared.engine.settings import EngineSettings
from shared.engine.sharing import Sharing
from shared.engine.work import EngineTransaction, Unfinished, Work, WorkItem
from shared.ports import Intent, Item, ItemResult, Lease, RunRecord
from shared.runtime.batching import Batcher
from shared.runtime.failpoints import reached
from shared.runtime.metrics import ITEM_ATTEMPTS, ITEMS, THROTTLED_SECONDS

_log = structlog.get_logger(__name__)


End = Callable[[EngineTransaction, "RunSlice"], Awaitable[RunRecord]]


class RunSlice:
    """What an operation sees of the engine (`shared.engine.work.Slice`), and how its items are driven."""

    def __init__(
        self,
        *,
        run: RunRecord,
        connection: TenantConnection,
        work: Work,
        guard: LeaseGuard,
        settling: Sharing,
        settings: EngineSettings,
        is_draining: Callable[[], bool],
        end: End,
    ) -> None:
        """Work `run` under `guard.lease` until a limit of `settings`, a request to stop or the end."""
        self.run = run
        self.connection = connection
        self.throttled_for: timedelta | None = None
        self._processed_before = run.counts.processed
        self.fatal: RunFatalError | None = None
        self._work = work
        self._guard = guard
        self._settling = settling
        self._settings = settings
        self._monotonic = guard.monotonic
        self._is_draining = is_draining
        self._end = end
        self.has_ended = False  # the run's end was committed with its last outcomes
        self.page: Sequence[Item] | None = None  # read already, to be worked first
        self.page_size = settings.page_items
        self._results: list[ItemResult] = []
        self._has_results, self._is_full = asyncio.Event(), asyncio.Event()
        self._flushing = asyncio.Lock()
        self._intents = Batcher[Intent, None](self._commit_intents, max_items=settings.flush_items, max_wait=0)
        self._began = self._progressed = self._monotonic()

    @property
    def lease(self) -> Lease:
        """The lease that every write carries."""
        return self._guard.lease

    @property
    def must_stop(self) -> bool:
        """True when no further item may be taken up in this slice. Asks nobody: flushes and renewals bring the news."""
        return (
            self.fatal is not None
            or self.throttled_for is not None
            or self.abort_requested
            or self.run.is_paused
            or self._guard.is_paused
            or self.is_overdue
            or self._is_draining()
            or self._monotonic() - self._began >= self._settings.slice_time.total_seconds()
        )

    @property
    def has_few_items(self) -> bool:
        """True for a run that is known to be small: it shares transactions with others."""
        return 0 < (self.run.counts.total or 0) <= self._settings.few_items

    @property
    def abort_requested(self) -> bool:
        """True when somebody wants the run to end."""
        return self._guard.abort_requested or self.run.abort_requested_at is not None

    @property
    def is_overdue(self) -> bool:
        """True once the run's deadline has passed, by the database's clock."""
        return self.run.deadline_at is not None and self.run.deadline_at <= self._guard.now()

    @property
    def running_for(self) -> timedelta:
        """Since the run began with its first item, by the database's clock."""
        return self._guard.now() - self.run.started_at if self.run.started_at else timedelta()

    @property
    def has_progressed(self) -> bool:
        """True when an item ended in this slice."""
        return self.run.counts.processed > self._processed_before

    def tag(self, item: Item, step: str = "read") -> CallTag:
        """Return the headers' content for a call that is made for `item`."""
        return CallTag(self.run.id, item.item_id, self.lease.epoch, step, self.lease.owner)

    async def intend(self, intent: Intent) -> None:
        """Commit the intent of a write; return when it may be sent."""
        self._guard.check()
        reached("before_intent")
        await self._intents.submit(intent)
        self._guard.check()
        reached("after_intent")

    async def work_items(self, items: Sequence[Item]) -> None:
        """Work `items`, some at a time; every outcome is committed when this returns. Raises `LeaseLost`."""
        began, remaining = self._monotonic(), iter(items)
        flusher = asyncio.create_task(self._flush_regularly())
        try:
            with first_error():
                async with self._work.open(self, items) as work_item, asyncio.TaskGroup() as group:
                    for _ in range(min(self._settings.concurrency, len(items))):
                        group.create_task(self._work_through(remaining, work_item))
        finally:
            flusher.cancel()
            await asyncio.wait([flusher])
        await self.flush()
        if self._monotonic() - began < self._settings.page_is_quick.total_seconds():
            self.page_size = min(2 * self.page_size, self._settings.page_items_at_most)

    async def flush(self) -> None:
        """Commit the outcomes that wait, with what the operation stores for them, and now and then an event."""
        async with self._flushing:
            while self._results:
                batch = self._results[: self._settings.flush_items]
                await self._commit(batch)
                del self._results[: len(batch)]

    async def _commit(self, batch: Sequence[ItemResult]) -> None:
        before = self.run
        try:
            await self._record(batch)
        except BaseException:
            self.run = before  # what was rolled back must not count as progress
            raise
        reached("after_record")
        ITEM_ATTEMPTS.labels(self.run.operation).inc(len(batch))
        for outcome, items in Counter(result.outcome for result in batch if result.outcome is not None).items():
            ITEMS.labels(self.run.operation, outcome.value).inc(items)

    async def _record(self, batch: Sequence[ItemResult]) -> None:
        async def record(tx: EngineTransaction) -> bool:
            self.run = await tx.ledger.settle(self.lease, batch)
            await self._work.store(tx, self, batch)
            is_over = self.run.counts.is_complete and not self._work.has_conclusion
            if is_over:
                self.run = await self._end(tx, self)
            elif self._progress_is_due() and not self.run.counts.is_complete:
                self.run = await tx.ledger.progressed(self.lease)
                await tx.outbox.announce(self.run, EventKind.PROGRESS)
            return is_over

        commit = self._settling.do if self.has_few_items else self._settling.apart
        self.has_ended = await commit(self.run.tenant_id, record)
        if self.has_ended:
            self._guard.rest()

    async def _work_through(self, remaining: Iterator[Item], work_item: WorkItem) -> None:
        for item in remaining:
            if self.must_stop:
                return
            self._guard.check()
            result = await self._attempt(item, work_item)
            if result is not None:
                self._results.append(result)
                self._has_results.set()
                if len(self._results) >= self._settings.flush_items:
                    self._is_full.set()
            await self._guard.breathe()

    async def _attempt(self, item: Item, work_item: WorkItem) -> ItemResult | None:
        try:
            return await work_item(item)
        except LeaseLost:
            raise
        except RunFatalError as error:
            self.fatal = error  # the item stays open: the end marks it with the cause, like the rest
            return None
        except ReinstateError as error:
            return self._stopped(item, error)
        except Unfinished as end:
            result = self._stopped(item, end.error)
            return replace(
                result,
                context={**result.context, "reason": end.reason},
                remote_id=end.remote_id,
                plan=end.plan,
                keep_intent=end.keep_intent,
            )
        except Exception as error:  # noqa: BLE001  a defect of ours must not take the other items down
            _log.error(
                "item.defect", run_id=str(self.run.id), item_id=str(item.item_id), error_type=type(error).__name__
            )
            return after_error(item, ReinstateError(SafeCode.INTERNAL_UNEXPECTED), self._settings.retry)

    def _stopped(self, item: Item, error: ReinstateError) -> ItemResult:
        if isinstance(error, ThrottledError):
            self._throttled(error, item)
        return after_error(item, error, self._settings.retry)

    def _throttled(self, error: ThrottledError, item: Item) -> None:
        wait = self._settings.retry.delay_after(error, item.attempt + 1, random.random()) or timedelta()  # noqa: S311  jitter
        self.throttled_for = max(wait, self.throttled_for or timedelta())
        THROTTLED_SECONDS.labels(self.run.operation).inc(wait.total_seconds())

    async def _flush_regularly(self) -> None:
        while True:
            await self._has_results.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.flush_time.total_seconds()):
                    await self._is_full.wait()
            self._has_results.clear()
            self._is_full.clear()
            await asyncio.shield(self._flush_or_stop())

    async def _flush_or_stop(self) -> None:
        try:
            await self.flush()
        except LeaseLost:
            self._guard.give_up()
        except TransientError:
            _log.warning("slice.flush_failed", run_id=str(self.run.id))

    async def _commit_intents(self, intents: Sequence[Intent]) -> list[None]:
        async def intend(tx: EngineTransaction) -> None:
            if any(intent.evidence is not None for intent in intents):
                await self._work.keep(tx, intents)
            await tx.ledger.intend(self.lease, intents)

        await self._settling.apart(self.run.tenant_id, intend)
        return [None] * len(intents)

    def _progress_is_due(self) -> bool:
        now = self._monotonic()
        if now - self._progressed < self._settings.progress_every.total_seconds():
            return False
        self._progressed = now
        return True


def after_error(item: Item, error: ReinstateError, policy: RetryPolicy) -> ItemResult:
    """Turn an item's error into its result: another attempt by the policy, or the end."""
    wait = policy.delay_after(error, item.attempt + 1, random.random())  # noqa: S311  jitter, not a secret
    context = {**error.context, "attempt": item.attempt + 1}
    outcome = Outcome.FAILED if wait is None else None
    is_attempt = not isinstance(error, ThrottledError)
    return ItemResult(item.ordinal, outcome, error.code, context, retry_in=wait, is_attempt=is_attempt)
