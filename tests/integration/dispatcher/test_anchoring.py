"""Heads are written down elsewhere, and refusals are counted while nothing can be written."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from cli.audit_trail import verify_database
from services.dispatcher.anchoring import Anchoring
from services.dispatcher.refusals import MOST_KINDS, SINGLY, Refusals
from shared.audit_signing import Signer, Verifier
from shared.domain.audit_anchors import ANCHORED, anchor_of, anchors_of
from shared.domain.audit_chain import HOUSE
from shared.domain.errors import SafeCode, TransientError
from shared.persistence.audit_trail import SqlAuditTrail
from shared.persistence.unit_of_work import SqlTransaction, SqlUnitOfWork
from shared.ports import AuditEntry
from tests.support.builders import World


def refused(name: str = "Mara", action: str = "run.start_refused") -> AuditEntry:
    return AuditEntry(action, "blocked", "user", name, "A request was refused", context={"reason": "request.invalid"})


class Unreliable:
    """A unit of work over the real one whose database can be away."""

    def __init__(self, uow: SqlUnitOfWork) -> None:
        self.uow = uow
        self.is_away = False

    @asynccontextmanager
    async def begin(self, tenant_id: UUID) -> AsyncIterator[SqlTransaction]:
        if self.is_away:
            raise TransientError(SafeCode.SERVICE_UNAVAILABLE)
        async with self.uow.begin(tenant_id) as tx:
            yield tx


@pytest.fixture
def uow(world: World) -> Unreliable:
    return Unreliable(SqlUnitOfWork(world.engine, service="test"))


async def lines(world: World) -> list[tuple[UUID, str, int | None]]:
    rows = await world.rows("SELECT tenant_id, action, (context->>'count')::int AS n FROM audit_logs ORDER BY id")
    return [(row["tenant_id"], row["action"], row["n"]) for row in rows]


async def test_each_head_is_anchored_once_signed_in_log_and_file(world: World, uow: Unreliable, tmp_path: Path) -> None:
    tenant, signer, file = await world.add_tenant(), Signer.new()[1], tmp_path / "anchors.jsonl"
    trails = SqlAuditTrail(world.engine)
    replicas = [Anchoring(trails, signer, file=file) for _ in range(2)]
    for of in (tenant, HOUSE):
        async with uow.begin(of) as tx:
            await tx.audit.add(refused())

    with capture_logs() as logged:
        counts = await asyncio.gather(*(one.anchor() for one in replicas))
        assert await replicas[0].anchor() == 0, "nothing went on"

    assert sum(counts) == 2
    anchors = [anchor_of(line) for line in logged if line["event"] == ANCHORED]
    assert sorted(str(one.head.tenant_id) for one in anchors if one) == sorted([str(tenant), str(HOUSE)])
    with file.open() as written:
        kept = list(anchors_of(written))
    assert kept == anchors
    check = Verifier.of(signer.public_key).is_genuine
    assert all(check(one) for one in kept)
    verdict = await verify_database(trails, kept={}, is_genuine=check)
    assert (verdict.findings, verdict.anchored) == ([], 2)


async def test_a_stop_anchors_what_went_on_since(world: World, uow: Unreliable) -> None:
    async with uow.begin(HOUSE) as tx:
        await tx.audit.add(refused())
    stop = asyncio.Event()
    stopping = asyncio.create_task(Anchoring(SqlAuditTrail(world.engine)).run(stop, every=timedelta(hours=1)))
    await asyncio.sleep(0)

    stop.set()
    await stopping

    assert await SqlAuditTrail(world.engine).to_be_anchored() == []


async def test_refusals_during_an_outage_are_counted_and_written_after_it(world: World, uow: Unreliable) -> None:
    tenant, now = await world.add_tenant(), [0.0]
    refusals = Refusals(uow, window=60, monotonic=lambda: now[0])
    uow.is_away = True
    for _ in range(3):
        await refusals.note(tenant, refused())
    now[0] = 61
    await refusals.flush()
    assert await lines(world) == []

    uow.is_away = False
    await refusals.flush()
    await refusals.flush()

    assert await lines(world) == [(tenant, "run.start_refused", 3)]


async def test_a_window_ends_and_another_begins(world: World, uow: Unreliable) -> None:
    tenant, now = await world.add_tenant(), [0.0]
    refusals = Refusals(uow, window=60, monotonic=lambda: now[0])
    for _ in range(2):
        for _ in range(SINGLY + 5):
            await refusals.note(tenant, refused())
        await refusals.flush()
        now[0] += 61
        await refusals.flush()

    assert (
        await lines(world) == ([(tenant, "run.start_refused", None)] * SINGLY + [(tenant, "run.start_refused", 5)]) * 2
    )


async def test_kinds_without_end_are_counted_together(world: World, uow: Unreliable) -> None:
    """Whoever may write any name into a command cannot have a line for each, nor memory for each."""
    refusals = Refusals(uow)
    uow.is_away = True
    for number in range(MOST_KINDS + 50):
        await refusals.note(uuid4(), refused(f"name {number}"))
    assert len(refusals._kinds) == MOST_KINDS + 1

    uow.is_away = False
    await refusals.flush(everything=True)

    assert refusals._kinds == {}
    rows = await lines(world)
    assert len(rows) == MOST_KINDS + 1
    assert {tenant for tenant, *_ in rows} == {HOUSE}
    assert [row for row in rows if row[1] == "request.refused"] == [(HOUSE, "request.refused", 50)]
