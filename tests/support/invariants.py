"""What must be true of the database at any time when nothing moves, whatever happened before."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from tests.support.builders import World
from tests.support.rabbit import eventually

RUN_TABLES = {"restore_run": "restore_runs", "bulk_operation_run": "bulk_operation_runs"}
TERMINAL = "('succeeded', 'partial', 'failed', 'aborted')"
_INITIATOR = {"restore_run": "initiator_id", "bulk_operation_run": "user_id"}


async def settled(world: World) -> None:
    """Wait until every run is over, everything was published and everybody was told."""

    async def nothing_moves() -> bool:
        active = [await world.rows(f"SELECT 1 FROM {t} WHERE status NOT IN {TERMINAL}") for t in RUN_TABLES.values()]  # noqa: S608  our own names
        return not any(active) and not await world.rows("SELECT 1 FROM outbox")

    await eventually(nothing_moves)
    await eventually(lambda: _everybody_was_told(world))


async def _everybody_was_told(world: World) -> bool:
    return set(await told(world)) == await owed(world)


async def wrong_counters(world: World) -> list[dict[str, Any]]:
    """Runs whose counters are not what their item rows say."""
    statements = [_COUNTERS.format(runs=table, items=_items(table)) for table in RUN_TABLES.values()]
    return [row for statement in statements for row in await world.rows(statement)]


_COUNTERS = """
    SELECT r.id, r.status, r.total_items, r.succeeded, r.failed, r.skipped, s.*
    FROM {runs} r CROSS JOIN LATERAL (
        SELECT count(*) AS items,
            count(*) FILTER (WHERE state = 'succeeded') AS good,
            count(*) FILTER (WHERE state IN ('failed', 'unknown')) AS bad,
            count(*) FILTER (WHERE state = 'skipped') AS left_out
        FROM {items} i WHERE i.tenant_id = r.tenant_id AND i.run_id = r.id
    ) s
    WHERE (coalesce(r.total_items, 0), r.succeeded, r.failed, r.skipped)
        IS DISTINCT FROM (s.items::int, s.good::int, s.bad::int, s.left_out::int)
"""


async def half_done(world: World) -> list[dict[str, Any]]:
    """Items of ended runs whose fate is open: a write may be under way, or a success was claimed too early."""
    found = []
    for table in RUN_TABLES.values():
        found += await world.rows(
            f"SELECT r.id, r.status, i.ordinal, i.state FROM {table} r JOIN {_items(table)} i ON i.run_id = r.id"  # noqa: S608  our own names
            f" WHERE (r.status IN {TERMINAL} AND i.state = 'intent')"
            " OR (r.status IN ('succeeded', 'partial') AND i.state = 'pending')"
        )
    return found


def _items(runs: str) -> str:
    return runs.removesuffix("s") + "_items"


async def owed(world: World) -> set[tuple[str, str]]:
    """Each (run, person) that has to hear of the run's end: who started it, and who joined."""
    pairs = set()
    for run_type, table in RUN_TABLES.items():
        rows = await world.rows(
            f"SELECT id AS run, {_INITIATOR[run_type]} AS person FROM {table} WHERE status IN {TERMINAL}"  # noqa: S608  our own names
            f" UNION SELECT w.run_id, w.user_id FROM run_watchers w JOIN {table} r ON r.id = w.run_id"
            f" WHERE r.status IN {TERMINAL}"
        )
        pairs |= {(str(row["run"]), str(row["person"])) for row in rows if row["person"]}
    return pairs


async def told(world: World) -> list[tuple[str, str]]:
    """Each notification of an end, as (run, person)."""
    rows = await world.rows(f"SELECT run_id, user_id FROM notifications WHERE status IN {TERMINAL}")  # noqa: S608  our own names
    return [(str(row["run_id"]), str(row["user_id"])) for row in rows]


async def gaps(world: World, events: Iterable[Mapping[str, Any]]) -> dict[str, tuple[list[int], int]]:
    """Runs whose events do not count from 1 to the run's last without a gap: what was heard, and the last number.

    An event may come twice. One that says that a run was joined repeats the run's last number.
    """
    heard: dict[str, set[int]] = defaultdict(set)
    for event in events:
        if event["kind"] != "reused":
            heard[event["run_id"]].add(event["sequence"])
    lasts = {}
    for table in RUN_TABLES.values():
        for row in await world.rows(f"SELECT id, event_seq FROM {table}"):  # noqa: S608  our own names
            lasts[str(row["id"])] = row["event_seq"]
    return {
        run: (sorted(heard[run]), lasts.get(run, 0))
        for run in heard.keys() | lasts.keys()
        if heard[run] != set(range(1, lasts.get(run, 0) + 1))
    }
