"""T16: claimers of one run in a tight loop, while others lock the same rows in the reverse order."""

import asyncio
import itertools
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from shared.domain.errors import LeaseLost, TransientError
from shared.persistence.database import translated
from shared.persistence.unit_of_work import SqlUnitOfWork
from shared.ports import Lease, RunRecord, SlotLimits
from shared.runtime.ids import new_id
from tests.support.chaos import quantile
from tests.support.engine_lab import Lab, lab
from tests.support.verdict import LEASE_HISTORY

pytestmark = [pytest.mark.failures, pytest.mark.timeout(1800)]

CLAIMS = 10_000 if os.environ.get("REINSTATE_TEST_EVERYTHING") else 2_000  # of each case
DEADLOCK, NO_LOCK, SERIALIZATION = "40P01", "55P03", "40001"  # SQLSTATE
WIDE = SlotLimits(writing=50, reading=50, reading_background=50)
LONG, SHORT = timedelta(seconds=60), timedelta(milliseconds=1)
STRICT = "claimer-1"  # works under REPEATABLE READ
LAPSES = 0.3  # share of the leases that nobody gives back
LOCK_TIMEOUT = 0.2  # seconds
# What a claim locks, in its order: the run's row, then the tenant's turns.
ROW = text("SELECT 1 FROM bulk_operation_runs WHERE id = :run FOR UPDATE")
TURNS = text("SELECT pg_advisory_xact_lock(hashtextextended(:tenant, 0))")


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[Lab]:
    """Keep the history of every lease; whoever waits for a lock gives up soon, and looks for deadlocks at once."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(LEASE_HISTORY)
    name = database_url.rpartition("/")[2]
    for setting, milliseconds in (("lock_timeout", LOCK_TIMEOUT * 1000), ("deadlock_timeout", 5)):
        await connection.execute(f'ALTER DATABASE "{name}" SET {setting} = {milliseconds:.0f}')
    await connection.close()
    async with lab(database_url) as opened:
        yield opened


@dataclass
class Claims:
    """What the claimers saw, together."""

    epochs: list[int] = field(default_factory=list)
    retries: dict[str, list[float]] = field(default_factory=dict)  # of each claim: errors that another attempt cured
    refusals: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)  # SQLSTATE
    fenced: int = 0
    late: int = 0  # writes after a lease was left to lapse

    @property
    def are_enough(self) -> bool:
        return len(self.epochs) >= CLAIMS


async def claim(uow: SqlUnitOfWork, run: RunRecord, owner: str, ttl: timedelta, claims: Claims) -> Lease | None:
    """Ask for the lease until there is an answer; whatever else than `TransientError` comes out is a finding."""
    wake_up, retries = new_id(), 0
    while True:
        try:
            async with uow.begin(run.tenant_id) as tx:
                acquired = await tx.ledger.acquire(
                    run.run_type, run.id, owner=owner, wake_up_id=wake_up, ttl=ttl, limits=WIDE
                )
        except TransientError as error:
            claims.errors[sqlstate(error)] += 1
            retries += 1
            continue
        if not isinstance(acquired, tuple):
            claims.refusals[acquired.reason] += 1
            return None
        claims.retries.setdefault(owner, []).append(retries)
        claims.epochs.append(acquired[0].epoch)
        return acquired[0]


def sqlstate(error: TransientError) -> str:
    cause: Any = error.__cause__
    return str(getattr(getattr(cause, "orig", None), "sqlstate", None) or type(cause).__name__)


async def give_back(uow: SqlUnitOfWork, lease: Lease, claims: Claims) -> None:
    while True:
        try:
            async with uow.begin(lease.tenant_id) as tx:
                await tx.ledger.release(lease)
        except TransientError as error:
            claims.errors[sqlstate(error)] += 1
        else:
            return


async def write_late(uow: SqlUnitOfWork, lease: Lease, claims: Claims) -> None:
    """Write under a lease that nobody renewed: either nobody took the run meanwhile, or the write is refused."""
    claims.late += 1
    try:
        async with uow.begin(lease.tenant_id) as tx:
            await tx.ledger.progressed(lease)
    except LeaseLost:
        claims.fenced += 1
    except TransientError as error:
        claims.errors[sqlstate(error)] += 1


async def claimer(number: int, uow: SqlUnitOfWork, run: RunRecord, claims: Claims) -> None:
    """Claim, and either give the lease back or leave it to lapse and write nevertheless."""
    dice = random.Random(number)  # noqa: S311  reproducible
    while not claims.are_enough:
        lapses = dice.random() < LAPSES
        lease = await claim(uow, run, f"claimer-{number}", SHORT if lapses else LONG, claims)
        if lease is None:
            continue
        if lapses:
            await write_late(uow, lease, claims)
        else:
            await give_back(uow, lease, claims)


async def disturb(world: Lab, run: RunRecord, claims: Claims) -> None:
    """Take what a claim takes in the other order, and now and then hold it for longer than anybody waits."""
    for turn in itertools.count():
        if claims.are_enough:
            return
        with suppress(TransientError), translated():  # the server may choose this one as a deadlock's victim
            await lock_in_reverse(world, run, holds_long=turn % 20 == 19)
        await asyncio.sleep(0.2)


async def lock_in_reverse(world: Lab, run: RunRecord, *, holds_long: bool) -> None:
    async with world.engine.begin() as connection:
        for setting in ("SET LOCAL deadlock_timeout = '60s'", "SET LOCAL lock_timeout = 0"):
            await connection.execute(text(setting))
        await connection.execute(TURNS, {"tenant": str(run.tenant_id)})
        await asyncio.sleep(2 * LOCK_TIMEOUT if holds_long else 0.003)  # until a claimer waits for this lock
        await connection.execute(ROW, {"run": run.id})


@pytest.mark.parametrize("claimers", [2, 4])
async def test_t16_claimers_in_a_tight_loop_never_hold_a_run_together(world: Lab, claimers: int) -> None:
    """T16: thousands of claims of one run; one claimer works under REPEATABLE READ."""
    run, claims, began = await world.add_run(), Claims(), time.monotonic()
    strictly = SqlUnitOfWork(world.engine.execution_options(isolation_level="REPEATABLE READ"), service="lab")

    async with asyncio.TaskGroup() as group:
        for number in range(claimers):
            group.create_task(claimer(number, strictly if f"claimer-{number}" == STRICT else world.uow, run, claims))
        group.create_task(disturb(world, run, claims))

    overlaps, lapsed = await judged(world)
    print(  # noqa: T201  the figures are part of the report
        f"T16 claimers={claimers} claims={len(claims.epochs)} seconds={time.monotonic() - began:.0f}"
        f" retries per claim: {per_claim(claims, strict=False)}; REPEATABLE READ: {per_claim(claims, strict=True)}"
        f" errors={dict(claims.errors)} refusals={dict(claims.refusals)}"
        f" lapsed={lapsed} late writes={claims.late} fenced={claims.fenced}"
    )
    assert overlaps == []
    # In the order of the commits, which `judged` looked at; a client may hear of its own a moment after the next one.
    assert sorted(claims.epochs) == list(range(1, len(claims.epochs) + 1))
    assert len(claims.retries) == claimers
    assert set(claims.refusals) == {"held"}
    assert set(claims.errors) >= {DEADLOCK, NO_LOCK, SERIALIZATION}
    assert lapsed > 0
    assert claims.fenced > 0


def per_claim(claims: Claims, *, strict: bool) -> str:
    """Say how often a claim had to be tried again, by claimers of one kind."""
    counts = [count for owner, own in claims.retries.items() if (owner == STRICT) == strict for count in own]
    return f"mean {sum(counts) / len(counts):.3f} p99 {quantile(counts, 0.99):.0f} max {max(counts):.0f}"


async def judged(world: Lab) -> tuple[list[str], int]:
    """Return owners at the same time, by the database's history, and how often a lapsed lease was taken over."""
    overlaps, lapsed, before = [], 0, None
    for row in await world.rows("SELECT * FROM test_leases ORDER BY n"):
        if before is not None and row["epoch"] != before["epoch"]:
            is_free = before["until"] is None or before["until"] <= row["at"]
            lapsed += before["until"] is not None
            if row["epoch"] != before["epoch"] + 1 or not is_free:
                overlaps.append(f"{before} and {row}")
        before = row
    return overlaps, lapsed
