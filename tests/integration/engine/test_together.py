"""What happens to a run and what is told of it are one transaction: nothing untrue is told, nothing is forgotten."""

from collections.abc import AsyncIterator

import pytest

from shared.runtime import failpoints
from tests.support.engine_lab import Lab, ToyWork, lab


class Crash(BaseException):
    """The process dies here."""


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[Lab]:
    async with lab(database_url) as opened:
        yield opened


@pytest.mark.parametrize(
    ("point", "told"),
    [
        ("after_acquire", {"bulk_operation_run.running"}),
        ("after_release", {"bulk.interactive"}),
        ("after_finish", {"bulk_operation_run.succeeded"}),
    ],
)
async def test_a_run_and_the_message_of_it_are_of_one_transaction(world: Lab, point: str, told: set[str]) -> None:
    """A worker that dies right after the commit has left both; PostgreSQL says which transaction wrote a row."""

    def die() -> None:
        raise Crash

    run = await world.add_run()
    worker = world.worker(ToyWork(2), slice_items=1 if point == "after_release" else 500)

    with failpoints.armed(point, die), pytest.raises(Crash):
        await world.wake(worker, run)

    rows = await world.rows(
        "SELECT routing_key FROM outbox WHERE xmin = (SELECT xmin FROM bulk_operation_runs WHERE id = :run)", run=run.id
    )
    assert {row["routing_key"] for row in rows} == told


async def test_the_end_of_a_run_and_its_audit_entry_are_of_one_transaction(world: Lab) -> None:
    run = await world.add_run()

    await world.wake(world.worker(ToyWork(2)), run)

    assert await world.rows(
        "SELECT 1 FROM audit_logs WHERE xmin = (SELECT xmin FROM bulk_operation_runs WHERE id = :run) "
        "AND action = 'policy.sync.succeeded'",
        run=run.id,
    )
