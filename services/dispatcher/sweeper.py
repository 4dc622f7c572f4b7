"""The sweeper: no run stays where it is because a message or a worker was lost. Any number of replicas may sweep."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

import structlog

from services.dispatcher.metrics import Metrics
from services.dispatcher.ports import Maintenance, SweepTransaction, SweepUnitOfWork
from shared.contracts.events import EventKind
from shared.domain.errors import SafeCode, TransientError
from shared.domain.runs import RunStatus, RunType
from shared.front_door import DueRun
from shared.persistence.maintenance import Bounds, Need
from shared.ports import AuditEntry, Ending, RunRecord
from shared.runtime.metrics import RUNS_FINISHED

log = structlog.get_logger(__name__)

JITTER = 0.4  # share of the interval: replicas that started together drift apart

_ENDINGS = {
    Need.DEADLINE: Ending(RunStatus.FAILED, SafeCode.RUN_DEADLINE_EXCEEDED),
    Need.ABORT: Ending(RunStatus.ABORTED, SafeCode.RUN_ABORTED),
    Need.REFUSED: Ending(RunStatus.FAILED, SafeCode.QUEUE_DISPATCH_FAILED),
}


class Sweeper:
    """Wakes runs that wait for nothing and ends runs that are over, a short transaction per tenant."""

    def __init__(
        self,
        maintenance: Maintenance,
        uow: SweepUnitOfWork,
        bounds: Bounds,
        metrics: Metrics,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Sweep within `bounds`; `jitter` gives numbers in [0, 1)."""
        self._maintenance = maintenance
        self._uow = uow
        self._bounds = bounds
        self._metrics = metrics
        self._jitter = jitter
        self._had_trouble = False

    async def run(self, stop: asyncio.Event, *, every: timedelta) -> None:
        """Sweep about `every` so often until `stop`; an outage is waited out."""
        while not stop.is_set():
            try:
                await self.sweep()
            except TransientError as error:
                log.warning("sweeper.waiting", code=error.code)
            except Exception as error:  # noqa: BLE001  one defect must not end the guarantee that others rely on
                log.error("sweeper.failed", kind=type(error).__name__)  # noqa: TRY400  no traces in logs
            pause = every.total_seconds() * (1 - JITTER / 2 + JITTER * self._jitter())
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)

    async def sweep(self) -> int:
        """Look after a bounded batch of runs; return how many were woken or ended.

        Trouble with one tenant's runs does not keep others from being looked after; it is raised at the end. After any
        the next batch is taken at random: the longest forgotten could be the same as before, for ever.
        """
        done, trouble = 0, None
        found = await self._maintenance.find(at_random=self._had_trouble)
        self._had_trouble = True  # until this sweep has come to its end
        for need, due in found.items():
            for (tenant_id, run_type), run_ids in _by_tenant(due).items():
                try:
                    count = await self._look_after(tenant_id, run_type, run_ids, need)
                except Exception as error:  # noqa: BLE001  raised below
                    trouble = error
                else:
                    done += count
                    self._metrics.swept.labels(need.value).inc(count)
        self._had_trouble = trouble is not None
        await self._maintenance.forget_inbox()
        if trouble is not None:
            raise trouble
        return done

    async def _look_after(self, tenant_id: UUID, run_type: RunType, run_ids: Sequence[UUID], need: Need) -> int:
        async with self._uow.begin(tenant_id) as tx:
            runs = await tx.in_need.take(run_type, run_ids, need, self._bounds)
            if runs and need.is_for_a_slot:
                runs = await tx.turns.give(self._bounds.limits)
            for run in runs:
                if need in _ENDINGS:
                    await _end(run, _ENDINGS[need], tx)
                else:
                    await tx.outbox.wake(run)
        for run in runs:
            log.info("sweeper.acted", need=need.value, run_id=str(run.id), operation=run.operation)
        return len(runs)


async def _end(run: RunRecord, ending: Ending, tx: SweepTransaction) -> None:
    ended = await tx.runs.end(run, ending)
    if ended is None:
        return
    RUNS_FINISHED.labels(ended.operation, ended.status.value).inc()
    await tx.outbox.announce(ended, EventKind.STATUS)
    await tx.audit.add(
        AuditEntry(
            action=f"{run.run_type.value}.ended",
            outcome="info" if ending.status is RunStatus.ABORTED else "failure",
            actor_type="system",
            actor_name="sweeper",
            target_type=run.run_type.value,
            target_id=run.id,
            summary=f"{run.operation} ended without a worker",
            context={"operation": run.operation, "reason": ending.code.value if ending.code else None},
        )
    )


def _by_tenant(due: Sequence[DueRun]) -> dict[tuple[UUID, RunType], list[UUID]]:
    groups: dict[tuple[UUID, RunType], list[UUID]] = defaultdict(list)
    for one in due:
        groups[one.tenant_id, one.run_type].append(one.run_id)
    return groups
