"""More at once than can be worked on: a thousand tenants after an outage, and ten times as many callers as places."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import psutil
import pytest

from shared.domain.operations import Role
from shared.ports import SlotLimits
from tests.support.builders import Person, World
from tests.support.chaos import SHORT, Arena, Note, quantile, tell
from tests.support.load import Journal, Manager, Promise, managers

pytestmark = [pytest.mark.failures, pytest.mark.timeout(1200)]
AT_ONCE = 4  # requests in work at a time
SETTINGS = {  # with leases that do not lapse where many runs share two cores
    "WORKER_LEASE_SECONDS": "20",
    "WORKER_CALL_SECONDS": "1.9",
    "DISPATCHER_REQUESTS_AT_ONCE": str(AT_ONCE),
}

TENANTS = int(os.environ.get("REINSTATE_TEST_TENANTS", "60" if SHORT else "1000"))
WORKERS, LANES, PREFETCH = 2, 2, 4  # a worker holds so many runs in each lane
WAKE_UPS = 2  # of one run, at most

OVERLOAD = float(os.environ.get("REINSTATE_TEST_OVERLOAD_SECONDS", "8" if SHORT else "20"))
CALLERS = 10 * AT_ONCE
NORMAL_AGAIN = 60.0  # seconds
GROWTH = 100  # MB


async def test_t43_a_thousand_tenants_that_are_due_at_once_after_an_outage_are_worked_off_without_a_stampede(
    here: Arena, world: World, note: Note
) -> None:
    """T43: no worker for a while, every tenant starts a run, then the workers come."""
    journal = Journal()
    person = await world.add_person()
    tenants = [await a_tenant_of(person, here, world) for _ in range(TENANTS)]
    for worker in here.fleet.of("bulk-worker"):
        await asyncio.to_thread(here.fleet.end, worker.pid)
    async with httpx.AsyncClient(base_url=here.fleet.url, headers=person.headers, timeout=60) as http:
        line = iter(tenants)
        await asyncio.gather(*(start_each(http, journal, line, person) for _ in range(AT_ONCE // 2)))
        began = time.monotonic()
        for _ in range(WORKERS):
            here.fleet.launch("bulk-worker")
        async with looked_at(http, f"/v1/tenants/{tenants[0]}/runs") as waits:
            report = await here.verdict(journal, world, patience=400)
    drained = time.monotonic() - began
    held = await Held.read(world)
    tell(
        note,
        report,
        tenants=len(tenants),
        drained=f"{drained:.0f}s",
        runs_per_second=f"{len(tenants) / drained:.0f}",
        held_at_once=held.most,
        of_one_tenant=held.most_of_a_tenant,
        pickups_of_a_run=held.most_pickups,
        api_p95=f"{quantile(waits, 0.95):.2f}s",
    )
    report.must_be_good()
    assert len(journal.promises) == len(tenants)
    assert held.most <= WORKERS * LANES * PREFETCH
    assert held.most_of_a_tenant <= SlotLimits().reading
    assert held.most_pickups <= WAKE_UPS


async def a_tenant_of(person: Person, here: Arena, world: World) -> UUID:
    """Open a tenant with an empty directory of its own."""
    directory = await asyncio.to_thread(here.system.simulator.new_tenant)
    tenant = await world.add_tenant(directory, external_id=directory, connection=here.system.connection())
    await world.join(person, tenant, Role.MANAGER)
    return tenant


async def start_each(http: httpx.AsyncClient, journal: Journal, line: Iterator[UUID], person: Person) -> None:
    """Start a refresh of the inventory of whoever comes next."""
    for tenant in line:
        answer = await start(http, journal, tenant, {"resource": "policy", "action": "sync"}, person)
        assert answer.status_code == 201, answer.text


async def start(
    http: httpx.AsyncClient, journal: Journal, tenant: UUID, body: dict[str, Any], person: Person
) -> httpx.Response:
    """Send one start, and note down what was answered."""
    journal.attempted += 1
    answer = await http.post(
        f"/v1/tenants/{tenant}/bulk-operation-runs",
        json=body,
        headers={**person.headers, "Idempotency-Key": uuid4().hex},
    )
    if answer.is_success:
        run = answer.json()
        journal.promises.append(Promise(tenant, UUID(run["id"]), run["operation"], answer.status_code == 201))
    return answer


@asynccontextmanager
async def looked_at(http: httpx.AsyncClient, path: str) -> AsyncIterator[list[float]]:
    """Ask for a page twice a second; the seconds that each answer took."""
    waits: list[float] = []

    async def look() -> None:
        while True:
            asked = time.monotonic()
            (await http.get(path)).raise_for_status()
            waits.append(time.monotonic() - asked)
            await asyncio.sleep(0.5)

    looking = asyncio.create_task(look())
    yield waits
    looking.cancel()
    with suppress(asyncio.CancelledError):
        await looking


@dataclass(frozen=True, slots=True)
class Held:
    """How many leases were held at a time, by the history of all of them."""

    most: int
    most_of_a_tenant: int
    most_pickups: int

    @classmethod
    async def read(cls, world: World) -> "Held":
        """Play the history through."""
        leases: dict[UUID, dict[str, Any]] = {}
        pickups: Counter[UUID] = Counter()
        most = most_of_a_tenant = 0
        for row in await world.rows(
            "SELECT l.run_id, l.owner, l.epoch, l.until, l.at, r.tenant_id FROM test_leases l"
            " JOIN bulk_operation_runs r ON r.id = l.run_id ORDER BY l.n"
        ):
            before = leases.get(row["run_id"])
            leases[row["run_id"]] = row
            if row["owner"] and (before is None or before["epoch"] != row["epoch"]):
                pickups[row["run_id"]] += 1
            held = [one for one in leases.values() if one["owner"] and one["until"] > row["at"]]
            most = max(most, len(held))
            most_of_a_tenant = max(most_of_a_tenant, *Counter(one["tenant_id"] for one in held).values(), 0)
        return cls(most, most_of_a_tenant, max(pickups.values(), default=0))


@dataclass
class Answers:
    """What callers were answered during an overload."""

    refused: int = 0
    accepted: list[float] = field(default_factory=list)  # seconds that each took
    odd: list[str] = field(default_factory=list)


async def test_t44_ten_times_as_many_callers_as_places_are_shed_and_all_is_well_again_within_a_minute(
    here: Arena, world: World, note: Note
) -> None:
    """T44: refusals say when to come back; what was accepted is done; memory stays where it was."""
    async with managers(here.system, world, 4, 44) as (journal, people):
        usual = await how_long(journal, people[0])
        process = psutil.Process(here.fleet.of("dispatcher")[0].pid)
        before = process.memory_info().rss
        answers = Answers()
        until_when = time.monotonic() + OVERLOAD
        limits = httpx.Limits(max_connections=CALLERS, max_keepalive_connections=CALLERS)
        async with httpx.AsyncClient(base_url=here.fleet.url, limits=limits, timeout=60) as http:
            await asyncio.gather(
                *(press(http, journal, people[n % len(people)], until_when, answers) for n in range(CALLERS))
            )
        over = time.monotonic()
        grown = (process.memory_info().rss - before) // 2**20
        after = await how_long(journal, people[0])
        normal_after = time.monotonic() - over
        report = await here.verdict(journal, world)
    tell(
        note,
        report,
        callers=CALLERS,
        places=AT_ONCE,
        accepted=len(answers.accepted),
        shed=answers.refused,
        p95=f"{quantile(answers.accepted, 0.95):.2f}s",
        usual=f"{usual:.2f}s",
        after=f"{after:.2f}s",
        normal_after=f"{normal_after:.1f}s",
        drained=f"{time.monotonic() - over:.1f}s",
        grown=f"{grown}MB",
    )
    report.must_be_good()
    assert answers.odd == []
    assert answers.refused > 0
    assert answers.accepted
    assert time.monotonic() - over < NORMAL_AGAIN
    assert grown < GROWTH


async def how_long(journal: Journal, who: Manager) -> float:
    """Start alone; return the seconds until the answer."""
    asked = time.monotonic()
    await who.start_capture()
    assert journal.unanswered == 0
    return time.monotonic() - asked


async def press(http: httpx.AsyncClient, journal: Journal, who: Manager, until_when: float, answers: Answers) -> None:
    """Start captures one after the other, without heeding any advice."""
    body = {"resource": "backup_set", "action": "create", "selector": {"all": True}}
    while time.monotonic() < until_when:
        asked = time.monotonic()
        answer = await start(http, journal, who.customer.id, body, who.customer.manager)
        if answer.is_success:
            answers.accepted.append(time.monotonic() - asked)
        elif answer.status_code == 503 and answer.headers.get("Retry-After", "").isdigit():
            answers.refused += 1
        else:
            answers.odd.append(f"{answer.status_code} {answer.text[:200]}")
