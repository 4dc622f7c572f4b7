"""A run that waits says for what; what is forgotten is found; what is old is deleted."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from services.dispatcher.metrics import Metrics
from services.dispatcher.sweeper import Sweeper
from shared.domain.runs import Lane, RunStatus, WaitReason
from shared.front_door import RunFilter
from shared.persistence.maintenance import Bounds, SqlMaintenance
from shared.persistence.unit_of_work import SqlUnitOfWork
from tests.support.builders import Person, World
from tests.support.engine_lab import Lab, ToyWork

SYNC = {"resource": "policy", "action": "sync"}


@pytest.fixture
async def lab(world: World, tenant: str) -> AsyncIterator[Lab]:
    opened = Lab(world.engine)
    opened.tenant_id = UUID(tenant.rpartition("/")[2])
    yield opened
    await opened.close()


def a_sweeper(lab: Lab, **bounds: Any) -> Sweeper:
    chosen = Bounds(**bounds)
    uow = SqlUnitOfWork(lab.engine, service="test")
    return Sweeper(SqlMaintenance(lab.engine, chosen), uow, chosen, Metrics())


async def wake_ups(lab: Lab) -> list[str]:
    rows = await lab.rows("DELETE FROM outbox WHERE service = 'test' AND exchange = 'work' RETURNING correlation_id")
    return [row["correlation_id"] for row in rows]


async def test_a_run_that_no_worker_takes_up_says_so_and_costs_few_messages(world: World, lab: Lab) -> None:
    """Each wake-up is given as much time as all before it together."""
    run = await lab.add_run()
    sweeper = a_sweeper(lab)
    sent = 0
    for _ in range(60):  # an hour without a worker, minute by minute
        await lab.rows(
            "UPDATE bulk_operation_runs SET woken_at = woken_at - interval '61 s',"
            " waiting_since = waiting_since - interval '61 s' RETURNING 1"
        )
        await sweeper.sweep()
        sent += len(await wake_ups(lab))

    assert (await lab.get(run)).wait_reason is WaitReason.NO_WORKER
    assert 4 <= sent <= 8
    await lab.wake(lab.worker(ToyWork(1)), run)
    assert (await lab.get(run)).wait_reason is None


async def test_lost_turns_are_given_anew_one_for_each_slot_and_not_one_for_each_run(lab: Lab) -> None:
    for _ in range(20):
        await lab.add_run(lane=Lane.BACKGROUND)
    await lab.rows(
        "UPDATE bulk_operation_runs SET wait_reason = 'tenant_cap', woken_at = now() - interval '2 min' RETURNING 1"
    )
    sweeper = a_sweeper(lab)

    for _ in range(3):
        await sweeper.sweep()

    assert len(await wake_ups(lab)) == 2


async def test_a_run_for_later_waits_and_says_until_when(
    http: httpx.AsyncClient, lab: Lab, tenant: str, manager: Person
) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    answer = await http.post(
        f"{tenant}/bulk-operation-runs", json={**SYNC, "not_before": later.isoformat()}, headers=manager.headers
    )
    shown = answer.json()
    async with lab.uow.begin(lab.tenant_id) as tx:
        page = await tx.run_lists.page(RunFilter(), after=None, limit=2)
    work = ToyWork(1)

    await lab.wake(lab.worker(work), page[0])
    await a_sweeper(lab).sweep()

    assert (answer.status_code, shown["wait_reason"]) == (201, "scheduled")
    assert datetime.fromisoformat(shown["wait_until"]) == later
    assert (work.attempts, await wake_ups(lab)) == ([], [])
    due = await lab.rows("SELECT available_at > now() + interval '50 min' AS later FROM outbox WHERE exchange = 'work'")
    assert due == [{"later": True}]
    await lab.rows("UPDATE bulk_operation_runs SET wait_until = now(), woken_at = now() RETURNING 1")
    await lab.wake(lab.worker(work), page[0])
    assert (await lab.get(page[0])).status is RunStatus.SUCCEEDED


@pytest.mark.parametrize(
    ("deadline", "not_before", "status"),
    [(-1, None, 422), (60, None, 201), (60, 120, 422), (120, 60, 201), (60, -60, 201)],
)
async def test_a_deadline_that_leaves_no_time_is_refused_at_the_edge(
    http: httpx.AsyncClient, tenant: str, manager: Person, deadline: int, not_before: int | None, status: int
) -> None:
    now = datetime.now(UTC)
    body = {**SYNC, "deadline_at": (now + timedelta(seconds=deadline)).isoformat()}
    if not_before is not None:
        body["not_before"] = (now + timedelta(seconds=not_before)).isoformat()

    answer = await http.post(f"{tenant}/bulk-operation-runs", json=body, headers=manager.headers)

    assert answer.status_code == status
    if status == 422:
        assert answer.json()["code"] == "request.invalid"


async def test_inbox_rows_are_forgotten_after_two_weeks_in_bounded_batches(lab: Lab) -> None:
    for place in range(7):
        async with lab.uow.begin(lab.tenant_id) as tx:
            await tx.inbox.take("http", f"k{place}", "0" * 64)
    await lab.rows("UPDATE inbox SET processed_at = now() - interval '15 days' WHERE message_id <> 'k0' RETURNING 1")
    sweeper, left = a_sweeper(lab, forgotten_at_once=4), []

    for _ in range(3):
        await sweeper.sweep()
        left.append(len(await lab.rows("SELECT 1 FROM inbox")))

    assert left == [3, 1, 1]
