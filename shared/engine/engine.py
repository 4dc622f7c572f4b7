"""Claim, slice, settle: what both workers share.

A wake-up is a nudge. The engine takes the run's lease, works a bounded slice of its items, and gives the lease back
with the next wake-up in the same transaction, so that runs take turns. Dying anywhere in between changes nothing but
the time: the next worker finds every fact in the rows.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

import structlog

from shared.connectors.port import TenantConnection
from shared.contracts.events import EventKind
from shared.contracts.work import WakeUp
from shared.domain.budget import holder_of
from shared.domain.errors import (
    LeaseLost,
    PermanentError,
    ReinstateError,
    RunFatalError,
    SafeCode,
    ThrottledError,
    TransientError,
)
from shared.domain.runs import RunStatus, WaitReason, final_status
from shared.engine.admission import Admission
from shared.engine.endings import end_of, ended_early
from shared.engine.errors import first_error
from shared.engine.guard import LeaseGuard, LeaseKeeper
from shared.engine.settings import EngineSettings
from shared.engine.sharing import EngineUnitOfWork, Sharing
from shared.engine.slices import RunSlice
from shared.engine.work import EngineTransaction, Work
from shared.ports import Ending, Item, Lease, Refusal, RunRecord
from shared.runtime.failpoints import reached
from shared.runtime.metrics import DUPLICATES, LEASES_LOST, RUN_SECONDS, RUNS_FINISHED, RUNS_STARTED, SLICE_SECONDS

_log = structlog.get_logger(__name__)
_WITHOUT_EFFECT = frozenset({"absent", "finished", "held"})  # refusals of a wake-up that nobody needed
_FREES_ITS_TURN = frozenset({WaitReason.PAUSED.value, "finished"})  # the slot that was kept for the run is another's
_AROUND_RETRY = timedelta(seconds=5)  # between attempts at what precedes or follows a run's items


def _any_connection(_connection: TenantConnection) -> None:
    """Take every connection for right: whoever opens it finds out."""


@dataclass(frozen=True, slots=True)
class _TakenUp:
    """A run whose lease was taken: to be worked, or to be ended at once."""

    lease: Lease
    run: RunRecord
    connection: TenantConnection
    ending: Ending | None
    starts: bool


class Engine:
    """Works runs, slice by slice. One instance per process; concurrent wake-ups are independent."""

    def __init__(
        self,
        uow: EngineUnitOfWork,
        keeper: LeaseKeeper,
        works: Mapping[str, Work],
        settings: EngineSettings,
        monotonic: Callable[[], float] = time.monotonic,
        check_connection: Callable[[TenantConnection], None] = _any_connection,
    ) -> None:
        """`works` maps operation names to what they bring. No wall clock: every moment is the database's.

        `check_connection` raises `RunFatalError` for a connection that cannot be right, and asks nobody.
        """
        self._uow = uow
        self._keeper = keeper
        self._works = works
        self._settings = settings
        self._monotonic = monotonic
        self._admission = Admission(works, settings.max_abandoned, check_connection)
        self._draining = False
        # What is done in one go is of one kind: then those who share ask the same questions at the same time.
        self._taking_up, self._expanding, self._settling = (
            Sharing(uow, name) for name in ("take up", "expand", "settle")
        )

    def drain(self) -> None:
        """Take up no further item: slices under way store what they did and give their lease back."""
        self._draining = True

    async def wake(self, wake_up: WakeUp, *, message_id: UUID, redelivered: bool = False) -> None:
        """Work one slice of the run, or find that there is nothing to do. Returning means: acknowledge.

        `redelivered`: whoever had this very message before did not finish with it.
        Raises `TransientError` when the database does not answer or the process is draining: the message comes again.
        """
        if self._draining:
            raise TransientError(SafeCode.SERVICE_UNAVAILABLE)
        try:
            async with asyncio.timeout(self._settings.acquire_limit.total_seconds()):
                taken = await self._take_up(wake_up, message_id, redelivered=redelivered)
        except TimeoutError:
            raise TransientError(SafeCode.SERVICE_UNAVAILABLE) from None
        if taken is None:
            return
        if taken.starts:
            RUNS_STARTED.labels(taken.run.operation).inc()
        reached("after_acquire")
        try:
            if taken.ending is not None:
                await self._finish(taken.lease, taken.ending)
            else:
                await self._hold(taken.lease, taken.run, taken.connection)
        except LeaseLost:
            LEASES_LOST.labels(taken.lease.service).inc()
            _log.warning("lease.lost", run_id=str(taken.run.id), epoch=taken.lease.epoch)

    async def _take_up(self, wake_up: WakeUp, message_id: UUID, *, redelivered: bool) -> _TakenUp | None:
        async def take_up(tx: EngineTransaction) -> _TakenUp | None:
            acquired = await tx.ledger.acquire(
                wake_up.run_type,
                wake_up.run_id,
                owner=self._settings.owner,
                wake_up_id=message_id,
                ttl=self._settings.lease_ttl,
                limits=self._settings.limits,
                redelivered=redelivered,
            )
            if isinstance(acquired, Refusal):
                if acquired.reason in _WITHOUT_EFFECT:
                    DUPLICATES.labels("wake_up").inc()
                _log.debug("lease.refused", run_id=str(wake_up.run_id), reason=acquired.reason)
                if acquired.reason in _FREES_ITS_TURN:
                    await self._give_turns(tx)
                return None
            lease, run = acquired
            authority = await tx.authority.of(run)
            ending = self._admission.ending(lease, run, authority)
            starts = ending is None and run.status is RunStatus.QUEUED
            if starts:
                run = await tx.ledger.start(lease)
                await tx.outbox.announce(run, EventKind.STATUS)
            return _TakenUp(lease, run, authority.connection, ending, starts)

        taken: _TakenUp | None = await self._taking_up.do(wake_up.tenant_id, take_up)
        return taken

    async def _hold(self, lease: Lease, run: RunRecord, connection: TenantConnection) -> None:
        call_limit, holder = self._settings.call_limit.total_seconds(), holder_of(run.id, lease.epoch)
        guard = LeaseGuard(self._keeper, lease, self._settings.renew_every, self._monotonic)
        slice_ = RunSlice(
            run=run,
            connection=replace(connection, call_limit=call_limit, holder=holder, may_send=guard.check),
            work=self._works[run.operation],
            guard=guard,
            settling=self._settling,
            settings=self._settings,
            is_draining=lambda: self._draining,
            end=self._end_well,
        )
        with first_error(), SLICE_SECONDS.labels(run.operation).time():
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(guard.watch())
                await self._work(slice_)
                watch.cancel()

    async def _work(self, slice_: RunSlice) -> None:
        if slice_.run.expanded_at is None and not await self._expand(slice_):
            return
        if not slice_.run.counts.is_complete:
            await self._work_open_items(slice_)
        if slice_.has_ended:
            self._count_end(slice_.run)
            reached("after_finish")
        else:
            await self._settle(slice_)

    async def _expand(self, slice_: RunSlice) -> bool:
        """Make the item rows; False when the run ended or waits instead."""
        work = self._works[slice_.run.operation]

        async def expand(tx: EngineTransaction) -> tuple[RunRecord, Sequence[Item]]:
            if not await tx.retries.expand(slice_.lease, slice_.run):
                await work.expand(tx, slice_)
            run = await tx.ledger.expanded(slice_.lease)
            return run, await tx.ledger.open_items(slice_.lease, limit=self._page_of(slice_, 0))

        commit = self._expanding.do if slice_.has_few_items else self._expanding.apart
        try:
            await work.prepare(slice_)
            slice_.run, slice_.page = await commit(slice_.run.tenant_id, expand)
            reached("after_expand")
        except TransientError as error:
            await self._put_off(slice_, error)
            return False
        except (PermanentError, RunFatalError) as error:
            await self._finish(slice_.lease, ended_early(slice_.run, error.code, error))
            return False
        if slice_.run.counts.total == 0:
            await self._finish(slice_.lease, ended_early(slice_.run, SafeCode.SELECTION_EMPTY))
            return False
        return True

    async def _put_off(self, slice_: RunSlice, error: TransientError) -> None:
        """End a run whose items could not be listed for too often or, where its tenant asked to wait, for too long."""
        is_attempt = not isinstance(error, ThrottledError)
        too_often = is_attempt and slice_.run.attempt >= self._settings.max_pickups
        if too_often or (not is_attempt and self._has_waited_too_long(slice_)):
            await self._finish(slice_.lease, ended_early(slice_.run, error.code, error))
        else:
            await self._release(slice_, *_wait_of(error), is_attempt=is_attempt)

    async def _work_open_items(self, slice_: RunSlice) -> None:
        taken = 0
        while taken < self._settings.slice_items and not (slice_.must_stop or slice_.has_ended):
            items, slice_.page = slice_.page, None
            if items is None:
                async with self._uow.begin(slice_.run.tenant_id) as tx:
                    items = await tx.ledger.open_items(slice_.lease, limit=self._page_of(slice_, taken))
            if not items:
                return
            taken += len(items)
            await slice_.work_items(items)

    def _page_of(self, slice_: RunSlice, taken: int) -> int:
        return min(slice_.page_size, self._settings.slice_items - taken)

    async def _settle(self, slice_: RunSlice) -> None:
        run = slice_.run
        if run.counts.is_complete:
            await self._conclude(slice_)
        elif slice_.fatal is not None:
            await self._finish(slice_.lease, ended_early(run, slice_.fatal.code, slice_.fatal), slice_)
        elif slice_.abort_requested:
            await self._finish(slice_.lease, Ending(RunStatus.ABORTED, SafeCode.RUN_ABORTED), slice_)
        elif slice_.is_overdue:
            await self._finish(slice_.lease, ended_early(run, SafeCode.RUN_DEADLINE_EXCEEDED), slice_)
        elif slice_.throttled_for is not None and self._has_waited_too_long(slice_):
            await self._finish(slice_.lease, ended_early(run, SafeCode.GRAPH_THROTTLED), slice_)
        elif slice_.throttled_for is not None:
            await self._release(slice_, WaitReason.THROTTLED, slice_.throttled_for)
        else:
            await self._release(slice_, None, None)

    def _has_waited_too_long(self, slice_: RunSlice) -> bool:
        return not slice_.has_progressed and slice_.running_for > self._settings.throttled_at_most

    async def _conclude(self, slice_: RunSlice) -> None:
        work = self._works[slice_.run.operation]
        try:
            await work.conclude(slice_)
        except TransientError as error:
            await self._release(slice_, *_wait_of(error))
            return
        except ReinstateError as error:
            await self._finish(slice_.lease, ended_early(slice_.run, error.code, error), slice_)
            return
        await self._finish(slice_.lease, Ending(final_status(slice_.run.counts)), slice_)

    async def _finish(self, lease: Lease, ending: Ending, slice_: RunSlice | None = None) -> None:
        async with self._uow.begin(lease.tenant_id) as tx:
            run = await tx.ledger.fence(lease)
            if slice_ is not None:
                ending = await self._summed_up(tx, slice_, ending)
            run = await self._end(tx, lease, ending, run)
        self._count_end(run)
        reached("after_finish")

    async def _end_well(self, tx: EngineTransaction, slice_: RunSlice) -> RunRecord:
        """End a run whose last items are settled in this very transaction."""
        ending = await self._summed_up(tx, slice_, Ending(final_status(slice_.run.counts)))
        return await self._end(tx, slice_.lease, ending, slice_.run)

    async def _summed_up(self, tx: EngineTransaction, slice_: RunSlice, ending: Ending) -> Ending:
        return replace(ending, summary=await self._works[slice_.run.operation].summary(tx, slice_))

    async def _end(self, tx: EngineTransaction, lease: Lease, ending: Ending, run: RunRecord) -> RunRecord:
        """End `run`, whose row this transaction has locked; tell everybody."""
        reached("before_finish")
        ended: RunRecord = await tx.ledger.finish(lease, ending, run)
        await tx.outbox.announce(ended, EventKind.STATUS)
        await tx.audit.add(end_of(ended))
        await self._give_turns(tx)
        return ended

    def _count_end(self, run: RunRecord) -> None:
        RUNS_FINISHED.labels(run.operation, run.status.value).inc()
        if run.finished_at is not None:
            RUN_SECONDS.labels(run.operation).observe((run.finished_at - run.created_at).total_seconds())

    async def _release(
        self, slice_: RunSlice, reason: WaitReason | None, wait: timedelta | None, *, is_attempt: bool = True
    ) -> None:
        async with self._uow.begin(slice_.run.tenant_id) as tx:
            if wait is None:
                wait = await tx.ledger.next_due(slice_.lease)
                reason = WaitReason.RETRY_IN if wait else None
            run = await tx.ledger.release(slice_.lease, reason=reason, wait=wait, is_attempt=is_attempt)
            if wait:
                await tx.outbox.wake(run, delay=wait)
            await self._give_turns(tx)
        reached("after_release")

    async def _give_turns(self, tx: EngineTransaction) -> None:
        """Whoever frees a slot wakes the run that has waited longest for one; it may be the same run again."""
        for run in await tx.turns.give(self._settings.limits):
            await tx.outbox.wake(run)


def _wait_of(error: TransientError) -> tuple[WaitReason, timedelta]:
    if isinstance(error, ThrottledError):
        asked = timedelta(seconds=error.retry_after) if error.retry_after is not None else _AROUND_RETRY
        return WaitReason.THROTTLED, asked
    return WaitReason.RETRY_IN, _AROUND_RETRY
