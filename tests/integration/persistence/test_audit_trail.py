"""The trail in a real database: what a superuser does to it is found, and what others do to it is refused."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from io import StringIO
from typing import TypeAlias
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cli.audit_trail import export, verify_database
from shared.domain.audit_anchors import unsigned
from shared.domain.audit_chain import HOUSE, ChainRow, Finding, Head, Wrong
from shared.domain.audit_export import verify_export
from shared.persistence.audit_trail import SqlAuditTrail
from shared.persistence.database import create_engine
from shared.persistence.unit_of_work import SqlTransaction, SqlUnitOfWork
from shared.ports import AuditEntry
from tests.support.builders import World

LINE = AuditEntry("a.b", "success", "system", "test", "a test")
Tamper: TypeAlias = Callable[[AsyncConnection, UUID], Awaitable[object]]


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    opened = create_engine(database_url, service="audit-test", pool_size=16)
    yield opened
    await opened.dispose()


@pytest.fixture
def uow(engine: AsyncEngine) -> SqlUnitOfWork:
    return SqlUnitOfWork(engine, service="test")


@pytest.fixture
def trails(engine: AsyncEngine) -> SqlAuditTrail:
    """Small pages, so that each trail has several."""
    return SqlAuditTrail(engine, page=4)


@pytest.fixture
async def tenant(engine: AsyncEngine, uow: SqlUnitOfWork) -> UUID:
    """A tenant with ten rows, beside another one with three."""
    tenant, other = [await World(engine).add_tenant() for _ in range(2)]
    for of, count in ((tenant, 10), (other, 3)):
        for number in range(count):
            async with uow.begin(of) as tx:
                await tx.audit.add(AuditEntry("a.b", "success", "system", "test", f"test {number}"))
    return tenant


async def findings(trails: SqlAuditTrail, *anchored: Head) -> list[Finding]:
    kept = {one.tenant_id: [unsigned(one, datetime.now(UTC))] for one in anchored}
    return (await verify_database(trails, kept=kept)).findings


async def as_superuser(engine: AsyncEngine, tamper: Tamper, tenant: UUID) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))  # no trigger fires
        await tamper(connection, tenant)


async def sql(statement: str, connection: AsyncConnection, tenant: UUID) -> None:
    await connection.execute(text(statement), {"t": tenant} if ":t" in statement else {})


async def rechain(connection: AsyncConnection, tenant: UUID) -> None:
    """Change a row and write the chain anew from there on, head included."""
    await sql("UPDATE audit_logs SET summary = 'never' WHERE tenant_id = :t AND sequence = 4", connection, tenant)
    await connection.execute(text("CREATE TEMP TABLE gone ON COMMIT DROP AS SELECT * FROM audit_logs"))
    await sql("DELETE FROM audit_logs WHERE tenant_id = :t AND sequence >= 4", connection, tenant)
    await sql(
        "UPDATE audit_heads SET sequence = 3, hash ="
        " (SELECT hash FROM audit_logs WHERE tenant_id = :t AND sequence = 3) WHERE tenant_id = :t",
        connection,
        tenant,
    )
    await connection.execute(text("SET LOCAL session_replication_role = origin"))
    await sql(
        "INSERT INTO audit_logs SELECT * FROM gone WHERE tenant_id = :t AND sequence >= 4 ORDER BY sequence",
        connection,
        tenant,
    )


async def copied_to(number: int, connection: AsyncConnection, tenant: UUID) -> None:
    """Put a copy of the second row in, and make room for it."""
    await connection.execute(text("ALTER TABLE audit_logs DROP CONSTRAINT uq_audit_logs_tenant_id_sequence"))
    await connection.execute(text("CREATE TEMP TABLE one ON COMMIT DROP AS SELECT * FROM audit_logs WHERE false"))
    await sql("INSERT INTO one SELECT * FROM audit_logs WHERE tenant_id = :t AND sequence = 2", connection, tenant)
    await connection.execute(text("UPDATE one SET id = gen_random_uuid(), sequence = :n"), {"n": number})
    await connection.execute(text("INSERT INTO audit_logs SELECT * FROM one"))


SWAPPED = (
    "UPDATE audit_logs SET sequence = CASE sequence WHEN 3 THEN -3 ELSE -6 END WHERE tenant_id = :t"
    " AND sequence IN (3, 6)"
)
BACK = "UPDATE audit_logs SET sequence = CASE sequence WHEN -3 THEN 6 ELSE 3 END WHERE tenant_id = :t AND sequence < 0"


async def swap(connection: AsyncConnection, tenant: UUID) -> None:
    await sql(SWAPPED, connection, tenant)
    await sql(BACK, connection, tenant)


async def cut_with_head(connection: AsyncConnection, tenant: UUID) -> None:
    await sql("DELETE FROM audit_logs WHERE tenant_id = :t AND sequence > 7", connection, tenant)
    await sql(
        "UPDATE audit_heads SET sequence = 7, hash ="
        " (SELECT hash FROM audit_logs WHERE tenant_id = :t AND sequence = 7) WHERE tenant_id = :t",
        connection,
        tenant,
    )


FROM_WITHIN: dict[str, tuple[Tamper, int, Wrong]] = {
    "summary": (
        partial(sql, "UPDATE audit_logs SET summary = 'x' WHERE tenant_id = :t AND sequence = 5"),
        5,
        Wrong.CHANGED,
    ),
    "time": (
        partial(sql, "UPDATE audit_logs SET created_at = 'infinity' WHERE tenant_id = :t AND sequence = 5"),
        5,
        Wrong.CHANGED,
    ),
    "actor": (
        partial(sql, "UPDATE audit_logs SET actor_id = gen_random_uuid() WHERE tenant_id = :t AND sequence = 1"),
        1,
        Wrong.CHANGED,
    ),
    "context": (
        partial(sql, """UPDATE audit_logs SET context = '{"count": 0}' WHERE tenant_id = :t AND sequence = 10"""),
        10,
        Wrong.CHANGED,
    ),
    "moved to another tenant": (
        partial(
            sql,
            "UPDATE audit_logs SET tenant_id = '00000000-0000-0000-0000-0000000000ff' WHERE tenant_id = :t"
            " AND sequence = 5",
        ),
        5,
        Wrong.MISSING,
    ),
    "deleted": (partial(sql, "DELETE FROM audit_logs WHERE tenant_id = :t AND sequence = 4"), 4, Wrong.MISSING),
    "first deleted": (partial(sql, "DELETE FROM audit_logs WHERE tenant_id = :t AND sequence = 1"), 1, Wrong.MISSING),
    "put in": (partial(copied_to, 5), 5, Wrong.CHANGED),
    "put at the end": (partial(copied_to, 11), 11, Wrong.NOT_APPENDED),
    "put before all": (partial(copied_to, 0), 0, Wrong.OUT_OF_PLACE),
    "swapped": (swap, 3, Wrong.CHANGED),
    "tail cut": (partial(sql, "DELETE FROM audit_logs WHERE tenant_id = :t AND sequence > 7"), 8, Wrong.MISSING),
    "all deleted": (partial(sql, "DELETE FROM audit_logs WHERE tenant_id = :t"), 1, Wrong.MISSING),
    "head deleted": (partial(sql, "DELETE FROM audit_heads WHERE tenant_id = :t"), 10, Wrong.HEAD_MISSING),
    "head changed": (
        partial(sql, "UPDATE audit_heads SET hash = repeat('a', 64) WHERE tenant_id = :t"),
        10,
        Wrong.REWRITTEN,
    ),
}


@pytest.mark.parametrize("name", FROM_WITHIN)
async def test_what_a_superuser_did_is_found_and_the_first_bad_row_named(
    engine: AsyncEngine, trails: SqlAuditTrail, tenant: UUID, name: str
) -> None:
    tamper, sequence, wrong = FROM_WITHIN[name]
    assert await findings(trails) == []

    await as_superuser(engine, tamper, tenant)

    [found] = [one for one in await findings(trails) if one.tenant_id == tenant]
    either = (
        {wrong, Wrong.OUT_OF_PLACE} if name == "put in" else {wrong}
    )  # which of the two with that number comes first
    assert found.sequence == sequence
    assert found.wrong in either


async def test_truncating_everything_is_found_by_the_heads(
    engine: AsyncEngine, trails: SqlAuditTrail, tenant: UUID
) -> None:
    await as_superuser(engine, partial(sql, "TRUNCATE audit_logs CASCADE"), tenant)

    found = await findings(trails)

    assert [(one.sequence, one.wrong) for one in found] == [(1, Wrong.MISSING)] * 2


@pytest.mark.parametrize(
    ("tamper", "sequence", "wrong"),
    [
        (rechain, 10, Wrong.NOT_ANCHORED_SO),
        (cut_with_head, 8, Wrong.MISSING),
        (partial(sql, "TRUNCATE audit_logs, audit_heads, audit_anchors CASCADE"), 1, Wrong.MISSING),
    ],
)
async def test_what_was_made_to_look_whole_is_found_by_an_anchor_that_was_kept(
    engine: AsyncEngine, trails: SqlAuditTrail, tenant: UUID, tamper: Tamper, sequence: int, wrong: Wrong
) -> None:
    kept = await trails.head(tenant)
    assert kept is not None

    await as_superuser(engine, tamper, tenant)

    assert await findings(trails) == [], "from within nothing is wrong"
    assert await findings(trails, kept) == [Finding(tenant, sequence, wrong)]


async def test_an_anchor_in_the_database_is_held_against_the_rows_too(
    engine: AsyncEngine, trails: SqlAuditTrail, tenant: UUID
) -> None:
    anchors = [unsigned(head, datetime.now(UTC)) for head in await trails.to_be_anchored()]
    assert len(await trails.keep(anchors)) == 2
    assert await trails.keep(anchors) == []
    assert await trails.to_be_anchored() == []

    await as_superuser(engine, rechain, tenant)

    assert await findings(trails) == [Finding(tenant, 10, Wrong.NOT_ANCHORED_SO)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_logs SET summary = 'x'",
        "UPDATE audit_logs SET summary = 'x' WHERE false",
        "DELETE FROM audit_logs",
        "TRUNCATE audit_logs CASCADE",
        "UPDATE audit_heads SET sequence = 0",
        "INSERT INTO audit_heads VALUES (gen_random_uuid(), 5, '')",
        "DELETE FROM audit_heads",
        "TRUNCATE audit_heads",
        "UPDATE audit_anchors SET hash = 'x'",
        "DELETE FROM audit_anchors",
        "TRUNCATE audit_anchors",
    ],
)
async def test_changes_are_refused_by_the_database_whoever_asks(
    engine: AsyncEngine, trails: SqlAuditTrail, tenant: UUID, statement: str
) -> None:
    with pytest.raises(DBAPIError, match="append only"):
        async with engine.begin() as connection:
            await connection.execute(text(statement))

    assert await findings(trails) == []


async def test_number_hash_and_time_are_the_database_s_to_choose(
    engine: AsyncEngine, trails: SqlAuditTrail, tenant: UUID
) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO audit_logs (tenant_id, id, action, outcome, actor_type, actor_name, summary, sequence,"
                " previous_hash, hash, created_at)"
                " VALUES (:t, gen_random_uuid(), 'a', 'info', 'system', 'x', 'x', 3, 'x', 'x', '2001-01-01')"
            ),
            {"t": tenant},
        )

    rows = [row async for row in trails.rows(tenant)]
    assert rows[-1].sequence == 11
    assert rows[-1].created_at > rows[-2].created_at
    assert await findings(trails) == []


WEIRD = [
    {
        "count": 1.5,
        "limit": 1e-7,
        "size": 10**18,
        "reason": 'a "quoted" \\ word é 😀',
        "retryable": True,
        "field": None,
    },
    {"reason": "", "retry_after_s": 1e20, "count": -0.0, "status": 3.0},
    {},
]


async def test_the_database_and_we_compute_the_same_hash(
    uow: SqlUnitOfWork, trails: SqlAuditTrail, tenant: UUID
) -> None:
    async with uow.begin(tenant) as tx:
        for context in WEIRD:
            name = "Zoë 😀, 5:x, -,"
            await tx.audit.add(
                AuditEntry("a.b", "info", "user", name, "", tenant, target_type="x", target_id=HOUSE, context=context)
            )

    rows = [row async for row in trails.rows(tenant)]

    assert len(rows) == 13
    assert [row.hash for row in rows] == [row.expected_hash for row in rows]
    assert isinstance(rows[0], ChainRow)


async def test_a_transaction_that_is_rolled_back_leaves_no_gap(
    uow: SqlUnitOfWork, trails: SqlAuditTrail, tenant: UUID
) -> None:
    async def fail() -> None:
        async with uow.begin(tenant) as tx:
            await tx.audit.add(LINE)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    async with uow.begin(tenant) as tx:
        await tx.audit.add(LINE)

    assert await findings(trails) == []


@pytest.mark.timeout(120)
async def test_many_transactions_of_many_tenants_at_once_keep_every_chain_whole_and_wait_for_no_circle(
    engine: AsyncEngine, uow: SqlUnitOfWork, trails: SqlAuditTrail
) -> None:
    """Some are of one tenant, some shared by several; new chains begin meanwhile, and somebody verifies."""
    tenants = [await World(engine).add_tenant() for _ in range(6)] + [HOUSE]
    chance = random.Random(7)  # noqa: S311  a test that can be repeated

    async def note(tx: SqlTransaction) -> None:
        for _ in range(3):
            await tx.audit.add(LINE)

    async def one() -> None:
        if chance.random() < 0.5:
            async with uow.begin(chance.choice(tenants)) as tx:
                await note(tx)
            return
        chosen = chance.choices(tenants, k=5)
        await uow.together([[(tenant, note)] for tenant in chosen])

    async def some(count: int) -> None:
        for _ in range(count):
            await one()

    during, *_ = await asyncio.gather(findings(trails), *(some(15) for _ in range(12)))

    verdict = await verify_database(trails, kept={})
    assert (during, verdict.findings) == ([], [])
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM audit_logs")) == verdict.rows > 500


async def test_an_export_is_of_one_moment_of_each_trail(
    trails: SqlAuditTrail, uow: SqlUnitOfWork, tenant: UUID
) -> None:
    """Rows that are appended while it is written are left out, and it is whole."""
    lines: list[str] = []
    grown = asyncio.Event()

    def write(line: str) -> None:
        lines.append(line)
        grown.set()

    async def grow() -> None:
        await grown.wait()
        for _ in range(5):
            async with uow.begin(tenant) as tx:
                await tx.audit.add(LINE)

    (tenants, rows), _ = await asyncio.gather(export(trails, write), grow())
    verdict = verify_export(StringIO("".join(lines)))

    assert (verdict.findings, verdict.tenants, verdict.rows) == ([], tenants, rows)


async def test_one_tenant_s_trail_can_be_verified_by_itself(
    engine: AsyncEngine, trails: SqlAuditTrail, tenant: UUID
) -> None:
    await as_superuser(engine, partial(sql, "UPDATE audit_logs SET summary = 'x' WHERE tenant_id <> :t"), tenant)

    alone = await verify_database(trails, kept={}, only=tenant)
    all_of_them = await verify_database(trails, kept={})

    assert (alone.findings, alone.rows) == ([], 10)
    assert [(one.sequence, one.wrong) for one in all_of_them.findings] == [(1, Wrong.CHANGED)]
