"""T02: a worker is frozen for longer than its lease while it writes, and thawed after another finished its work."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from cli.demo.fleet import Service
from cli.stack import Stack
from cli.stack.ports import choose_ports
from shared.domain.runs import RunStatus
from shared.persistence.database import create_engine
from tests.support import stack as servers
from tests.support.builders import World
from tests.support.rabbit import PATIENCE, eventually
from tests.support.whole_system import (
    Customer,
    System,
    a_customer,
    calls_of,
    interrupt_the_writer,
    whole_system,
)

pytestmark = [pytest.mark.failures, pytest.mark.timeout(400)]

LEASE = "4"  # seconds; a call may last 2
HEARTBEATS = 20.0  # seconds; a broker that hears nothing for so long closes the connection


@pytest.fixture
def system(stack: Stack, database_template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    """Two restore workers with short leases, each with its own address for metrics."""
    monkeypatch.setenv("WORKER_LEASE_SECONDS", LEASE)
    monkeypatch.setenv("WORKER_SLICE_SECONDS", "60")
    with (
        servers.temporary_database(stack, database_template) as database_url,
        servers.temporary_vhost(stack) as amqp_url,
        whole_system(tmp_path, database_url, amqp_url, stack.management_url, bulk_worker=1, restore_worker=0) as found,
    ):
        yield found


@pytest.fixture
async def customer(system: System) -> AsyncIterator[Customer]:
    """A tenant that holds the sample."""
    engine = create_engine(system.database_url, service="test")
    async with a_customer(system, World(engine)) as one:
        yield one
    await engine.dispose()


async def counted(port: int, name: str) -> float:
    """One number of a worker's /metrics."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE) as http:
        lines = (await http.get("/metrics")).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


async def test_a_worker_that_was_frozen_past_its_lease_writes_nothing_late(
    system: System, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers: dict[int, int] = {}
    for port in choose_ports(["one", "two"]).values():
        monkeypatch.setenv("HEALTH_PORT", str(port))
        workers[system.fleet.launch("restore-worker").pid] = port
    monkeypatch.delenv("HEALTH_PORT")
    await system.fleet.ready()
    preview = await customer.drifted()
    frozen: list[Service] = []

    def freeze(pid: int) -> Service:
        frozen.extend(one for one in system.fleet.of("restore-worker") if one.pid == pid)
        os.kill(frozen[0].pid, signal.SIGSTOP)
        return frozen[0]

    mark = system.simulator.last_seq()
    try:
        with system.latency(100):
            started = await customer.api.start_restore(customer.id, preview_run_id=preview.id)
            stop = await interrupt_the_writer(customer, started.run, mark, freeze)
            run = await customer.api.wait(started.run, within=PATIENCE * 6)
        over = system.simulator.last_seq()
    finally:
        for one in frozen:
            os.kill(one.pid, signal.SIGCONT)
    port = workers.pop(frozen[0].pid)

    async def noticed() -> bool:
        return await counted(port, "reinstate_leases_lost_total") >= 1

    takeover = stop.heirs_first_request(system.simulator.journal(mark), run).mono - stop.at
    if takeover < HEARTBEATS:  # later, its handler is cancelled when it thaws, before it can ask its lease
        await eventually(noticed)
    await system.fleet.ready()
    journal = system.simulator.journal(mark)
    late = [entry for entry in journal if entry.worker == stop.worker and entry.mutating and entry.seq > over]
    fenced = await counted(port, "reinstate_fenced_writes_total")
    print(f"T02 takeover_s={takeover:.1f} {late=} {fenced=}")  # noqa: T201  the report's figures

    assert run.status == RunStatus.SUCCEEDED
    assert late == []
    assert set(calls_of(journal, run).values()) == {1}
    assert await counted(workers.popitem()[1], "reinstate_takeovers_total") >= 1
