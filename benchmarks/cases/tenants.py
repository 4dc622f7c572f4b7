"""(f): claims among many tenants, with an empty and with a long history, and the plans of the hot queries."""

import time
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.case import Case
from benchmarks.figures import Target, at_most, percentile, ratio
from benchmarks.noop import OPERATION
from benchmarks.place import Place
from benchmarks.plans import sequential_scans
from cli.stack.doors import address_of
from shared.domain.runs import RunType
from shared.persistence.database import create_engine
from shared.persistence.unit_of_work import SqlUnitOfWork
from shared.persistence.walls.roles import DbRole
from shared.ports import Refusal, SlotLimits
from shared.runtime.ids import new_id

EMPTY, FULL = "p95 of a claim, no finished runs", "p95 of a claim, finished runs"
SCANS = "sequential scans in plans of hot queries"
_PER_TENANT = 10
_ROUNDS = 3

_COLUMNS = "tenant_id, id, user_id, resource, action, operation, status, idempotency_key, requested_by, lane, writes"
_VALUES = (
    "t, gen_random_uuid(), $2::uuid, split_part($3, '.', 1), split_part($3, '.', 2), $3, $5,"
    " replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'Bench', 'background', false"
)
_ACTIVE = (
    f"INSERT INTO bulk_operation_runs ({_COLUMNS})"  # noqa: S608  our own words
    f" SELECT {_VALUES} FROM unnest($1::uuid[]) t, generate_series(1, $4::int)"
)
_FINISHED = (
    f"INSERT INTO bulk_operation_runs ({_COLUMNS}, total_items, processed_items, succeeded, created_at, finished_at)"  # noqa: S608  our own words
    f" SELECT {_VALUES}, 1, 1, 1, now() - n * interval '1 minute', now()"
    " FROM unnest($1::uuid[]) t, generate_series(1, $4::int) n"
)
_RELEASE = "UPDATE bulk_operation_runs SET lease_owner = NULL, lease_until = NULL, lease_wake_up = NULL, attempt = 0"


class Tenants(Case):
    """Two databases, one of them with a long history, claimed in turns."""

    letter = "f"
    title = "many tenants with 10 active runs each"
    patience = 1200.0
    once = True

    async def round(self) -> None:
        """Claim one run of every tenant, several times in both databases, then look at the plans."""
        tenants = self.bench.sized(1_000, 200)
        finished = self.bench.sized(1_000_000, 100_000)
        places = {
            EMPTY: await self._filled("claims_empty", tenants, 0),
            FULL: await self._filled("claims", tenants, finished),
        }
        engines = {
            name: create_engine(address_of(place.database_url, DbRole.BULK_WORKER), service="bench", pool_size=1)
            for name, (place, _) in places.items()
        }
        try:
            for number in range(_ROUNDS + 1):  # the first warms up
                for name, (place, runs) in places.items():
                    taken = await _claims(engines[name], runs)
                    await place.connection.execute(_RELEASE + " WHERE lease_until IS NOT NULL")
                    if number:
                        self.figures.add(name, percentile(taken, 0.95) * 1000, "ms")
        finally:
            for engine in engines.values():
                await engine.dispose()
        scans = await sequential_scans(places[FULL][0])
        self.figures.add(SCANS, len(scans), "plans")
        self.notes = [f"{tenants:,} tenants, {finished:,} finished runs", *scans]

    def targets(self) -> Sequence[Target]:
        """Compare a long history with none."""
        grown = ratio(self.figures.median(FULL), self.figures.median(EMPTY))
        return [
            at_most("f: p95 of a claim with ÷ without finished runs", FULL, grown, 1.2),
            at_most("f: hot queries with a sequential scan", SCANS, self.figures.median(SCANS), 0),
        ]

    async def _filled(self, name: str, tenants: int, finished: int) -> tuple[Place, list[tuple[UUID, UUID]]]:
        """Make a place with active and finished runs; return it and one active run of every tenant."""
        place = await self.bench.place(name)
        ids = await place.add_tenants(tenants, policies=_PER_TENANT)
        run = place.connection.execute
        if finished:
            await run(_FINISHED, ids, place.user_id, OPERATION, finished // tenants, "succeeded")
        await run(_ACTIVE, ids, place.user_id, OPERATION, _PER_TENANT, "queued")
        await run("VACUUM ANALYZE bulk_operation_runs")
        rows = await place.connection.fetch(
            "SELECT DISTINCT ON (tenant_id) tenant_id, id FROM bulk_operation_runs WHERE status = 'queued'"
        )
        return place, [(row["tenant_id"], row["id"]) for row in rows]


async def _claims(engine: AsyncEngine, runs: Sequence[tuple[UUID, UUID]]) -> list[float]:
    """Take the lease of every run, each in a transaction of its own as a worker does; return the seconds of each."""
    uow = SqlUnitOfWork(engine, service="bench")
    ttl, limits = timedelta(minutes=5), SlotLimits()
    taken = []
    for tenant_id, run_id in runs:
        began = time.perf_counter()
        async with uow.begin(tenant_id) as tx:
            acquired = await tx.ledger.acquire(
                RunType.BULK, run_id, owner="bench", wake_up_id=new_id(), ttl=ttl, limits=limits
            )
            if isinstance(acquired, Refusal):
                raise RuntimeError(f"a claim was refused: {acquired.reason}")  # noqa: TRY004  no wrong type, a wrong turn
            await tx.authority.of(acquired[1])
        taken.append(time.perf_counter() - began)
    return taken
