"""Plans of the queries of a run's whole way, asked for on tables that are full."""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.place import Place
from benchmarks.walk import NOTIFY, RELAY, START, SWEEP, WORK, walk
from shared.persistence.database import create_engine
from shared.persistence.walls.declaring import declared
from shared.persistence.walls.roles import DbRole

if TYPE_CHECKING:
    from uuid import UUID

SMALL = 1_000  # rows up to which reading a table whole is the right plan
_MAY_NOT = "42501"
_ASKED_BY = {
    START: (DbRole.DISPATCHER,),
    WORK: (DbRole.BULK_WORKER,),
    RELAY: (DbRole.RELAY,),
    NOTIFY: (DbRole.NOTIFIER,),
    SWEEP: (DbRole.SWEEPER, DbRole.RELAY, DbRole.DISPATCHER),
}
_VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")


async def sequential_scans(place: Place) -> list[str]:
    """Walk one run from its start to its notification and explain every statement of it on the way.

    Each is explained under the role of the service that asks it, behind the walls between tenants. Returns a line for
    each statement whose plan reads a table of more than `SMALL` rows whole.
    """
    await _fill(place)
    engine = create_engine(place.database_url, service="bench", pool_size=4)
    seen: dict[str, tuple[str, Any]] = {}
    stage = ""

    def enter(name: str) -> None:
        nonlocal stage
        stage = name

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, executemany: bool) -> None:  # noqa: FBT001  SQLAlchemy's
        if statement.lstrip().upper().startswith(_VERBS):
            seen.setdefault(statement, (stage, parameters[0] if executemany else parameters))

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        tenant_id, policy_id = (await place.policies(await place.add_tenants(1, policies=10)))[0]
        await walk(engine, tenant_id, place.user_id, [policy_id], enter)
        event.remove(engine.sync_engine, "before_cursor_execute", note)
        sizes = await _sizes(place)
        found: list[str] = []
        for statement, (asked_in, given) in seen.items():
            plan = await _plan(engine, tenant_id, _ASKED_BY[asked_in], statement, given)
            found += _explained(plan, statement, sizes)
        return found
    finally:
        await engine.dispose()


async def _fill(place: Place) -> None:
    """Fill the tables that are empty in an idle system, so that their plans are those of a busy one."""
    run = place.connection.execute
    tenant: UUID = await place.connection.fetchval("SELECT id FROM tenants LIMIT 1")
    await run(
        "INSERT INTO users (id, email, name) SELECT gen_random_uuid(), n || '@example.com', 'User'"
        " FROM generate_series(1, 2000) n"
    )
    await run(
        "INSERT INTO outbox (id, tenant_id, service, exchange, routing_key, type, body, correlation_id, available_at)"
        " SELECT gen_random_uuid(), $1, 'elsewhere', 'events', 'x', 'x', '', '', now() + n * interval '1 s'"
        " FROM generate_series(3600, 13600) n",
        tenant,
    )
    await run(
        "INSERT INTO inbox (tenant_id, consumer, message_id, body_sha256)"
        " SELECT $1, 'dispatcher.commands', n::text, '' FROM generate_series(1, 10000) n",
        tenant,
    )
    await run(
        "INSERT INTO notifications (tenant_id, id, user_id, run_type, run_id, operation, status, sequence, counts,"
        " interrupts)"
        " SELECT tenant_id, gen_random_uuid(), $1, 'bulk_operation_run', id, operation, status, 3, '{}', true"
        " FROM bulk_operation_runs LIMIT 50000",
        place.user_id,
    )
    await run(
        "INSERT INTO bulk_operation_run_items (tenant_id, run_id, ordinal, item_id, label, policy_type, state, outcome)"
        " SELECT tenant_id, id, 0, gen_random_uuid(), '', '', 'succeeded', 'exported'"
        " FROM bulk_operation_runs WHERE status = 'succeeded' LIMIT 50000"
    )
    await run(
        "INSERT INTO audit_logs (tenant_id, id, action, outcome, actor_type, actor_name, target_id, summary)"
        " SELECT tenant_id, gen_random_uuid(), 'x', 'info', 'system', 'x', id, 'x' FROM bulk_operation_runs LIMIT 50000"
    )
    await run("VACUUM ANALYZE")


async def _sizes(place: Place) -> dict[str, float]:
    rows = await place.connection.fetch("SELECT relname, reltuples FROM pg_class WHERE relkind = 'r'")
    return {row["relname"]: row["reltuples"] for row in rows}


async def _plan(engine: AsyncEngine, tenant_id: "UUID", roles: Sequence[DbRole], statement: str, given: Any) -> Any:
    """Return the plan under the first of the roles that may ask this."""
    for role in roles:
        try:
            async with declared(engine, [tenant_id], role=role) as connection:
                return (await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", given)).scalar_one()
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", "") != _MAY_NOT:
                raise
    raise RuntimeError(f"nobody may ask this: {statement}")


def _explained(plan: Any, statement: str, sizes: dict[str, float]) -> list[str]:
    whole = json.loads(plan) if isinstance(plan, str) else plan
    tables = sorted({name for name in _scanned(whole[0]["Plan"]) if sizes.get(name, 0) > SMALL})
    return [f"reads {table} whole: {' '.join(statement.split())[:160]}" for table in tables]


def _scanned(node: dict[str, Any]) -> Iterator[str]:
    if node["Node Type"] == "Seq Scan":
        yield node["Relation Name"]
    for inner in node.get("Plans", ()):
        yield from _scanned(inner)
