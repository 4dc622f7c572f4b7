"""The core against chance: hypothesis chooses what goes wrong next and shrinks what it finds to a short story."""

import asyncio
import os
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from shared.persistence.database import create_engine
from tests.support.core_sim import FAULTS, CoreSim
from tests.support.engine_lab import Lab

# Where a worker dies; None: it lives. A write that was sent is the most delicate moment, so it is tried most.
DEATHS = (
    None,
    None,
    "after_call",
    "after_call",
    "after_call",
    "after_intent",
    "before_intent",
    "after_record",
    "after_acquire",
    "after_expand",
    "before_finish",
    "after_finish",
    "after_release",
)
SMALL = st.integers(0, 7)


class CoreMachine(RuleBasedStateMachine):
    """Starts, deliveries, crashes, losses, duplicates, outages, lost answers, aborts and time, in any order."""

    database_url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.engine = create_engine(self.database_url, service="machine", pool_size=6)

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    @initialize(seed=st.integers(0, 4**5 - 1))
    def begin(self, seed: int) -> None:
        world = Lab(self.engine)

        async def make() -> CoreSim:
            world.tenant_id = await world.add_tenant()
            sim = CoreSim(world, world.tenant_id)
            await sim.set_up()
            sim.drift(seed)
            await sim.start_preview()
            await sim.relay()
            while sim.queue:
                await sim.deliver(0, 0)
                await sim.relay()
            await sim.start_execution()  # what may go wrong most is an execution
            await sim.relay()
            return sim

        self.sim: CoreSim = self.do(make())

    @rule()
    def preview(self) -> None:
        if len(self.sim.runs) < 4:
            self.do(self.sim.start_preview())

    @rule()
    def execute(self) -> None:
        if len(self.sim.runs) < 5:
            self.do(self.sim.start_execution())

    @rule()
    def relay(self) -> None:
        self.do(self.sim.relay())

    @rule()
    def relay_and_die_before_the_deletion(self) -> None:
        self.do(self.sim.relay(loses_deletion=True))

    @rule(index=SMALL, worker=SMALL, failpoint=st.sampled_from(DEATHS), passage=st.integers(1, 3))
    def deliver(self, index: int, worker: int, failpoint: str | None, passage: int) -> None:
        if not self.sim.queue:
            self.do(self.sim.relay())
        if self.sim.queue:
            self.do(self.sim.deliver(index, worker, failpoint, passage))

    # How long the queue is depends on how quick the database was: no precondition may, or stories could not be retold.
    @rule(index=SMALL)
    def duplicate(self, index: int) -> None:
        if 0 < len(self.sim.queue) < 10:
            self.sim.queue.append(self.sim.queue[index % len(self.sim.queue)])

    @rule(index=SMALL)
    def lose(self, index: int) -> None:
        if self.sim.queue:
            self.sim.queue.pop(index % len(self.sim.queue))

    @rule(name=st.sampled_from(sorted(FAULTS)), after=st.integers(0, 3))
    def target_fails(self, name: str, after: int) -> None:
        self.sim.here.tenant.faults.extend([None] * after + [FAULTS[name]])

    @rule(trouble=st.sampled_from(["before", "after"]), after=st.integers(0, 6))
    def database_fails(self, trouble: str, after: int) -> None:
        self.sim.uow.troubles.extend([""] * after + [trouble])

    @rule()
    def time_passes(self) -> None:
        self.do(self.sim.expire_leases())

    @rule()
    def sweep(self) -> None:
        self.do(self.sim.sweep())

    @rule(index=SMALL, really=st.integers(0, 5))
    def abort(self, index: int, really: int) -> None:
        if really == 0:  # a run that is aborted at once shows little
            self.do(self.sim.abort(index))

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "sim"):
            self.do(self.sim.check())

    def teardown(self) -> None:
        try:
            if hasattr(self, "sim"):
                self.do(self.sim.drain())
                self.do(self.sim.check_end())
        finally:
            self.do(self.engine.dispose())
            self.runner.close()


def play(database_url: str, examples: int, steps: int) -> None:
    machine = type("Machine", (CoreMachine,), {"database_url": database_url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


def test_whatever_goes_wrong_nothing_is_lost_or_done_twice(database_url: str) -> None:
    """The short form; the seed of a failure is printed by hypothesis."""
    play(database_url, examples=4, steps=20)


@pytest.mark.failures
@pytest.mark.timeout(900)
def test_whatever_goes_wrong_nothing_is_lost_or_done_twice_at_length(database_url: str) -> None:
    """As many stories as asked for: CORE_STORIES, 60 unless set."""
    play(database_url, examples=int(os.environ.get("CORE_STORIES", "60")), steps=50)
