"""Walls must not cost the indexes: behind them the hot queries of a run's whole way read no large table whole."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from benchmarks.place import Place
from benchmarks.plans import sequential_scans
from shared.runtime.ids import new_id

_TENANTS = 200
_RUNS = """
    INSERT INTO bulk_operation_runs (tenant_id, id, user_id, resource, action, operation, status, idempotency_key,
        requested_by, lane, writes, total_items, processed_items, succeeded, created_at, finished_at)
    SELECT t, gen_random_uuid(), $2, 'policy', 'sync', 'policy.sync',
        CASE WHEN n > 10 THEN 'succeeded' ELSE 'queued' END,
        replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'Bench', 'background', false, 1,
        CASE WHEN n > 10 THEN 1 ELSE 0 END, CASE WHEN n > 10 THEN 1 ELSE 0 END, now() - n * interval '1 minute',
        CASE WHEN n > 10 THEN now() END
    FROM unnest($1::uuid[]) t, generate_series(1, 100) n
"""


@pytest.fixture
async def busy(database_url: str) -> AsyncIterator[Place]:
    """A database with many tenants, and a history of runs for each."""
    connection = await asyncpg.connect(database_url)
    user_id = new_id()
    await connection.execute("INSERT INTO users (id, email, name) VALUES ($1, 'b@example.com', 'Bench')", user_id)
    place = Place(database_url, "", "", connection, user_id, "")
    await connection.execute(_RUNS, await place.add_tenants(_TENANTS, policies=10), user_id)
    yield place
    await connection.close()


async def test_behind_the_walls_no_hot_query_reads_a_large_table_whole(busy: Place) -> None:
    assert await sequential_scans(busy) == []


async def test_a_query_without_its_index_is_noticed(busy: Place) -> None:
    await busy.connection.execute("DROP INDEX ix_outbox_due")

    assert any("reads outbox whole" in line for line in await sequential_scans(busy))


@pytest.mark.parametrize("ledger", ["restore_run_items", "bulk_operation_run_items"])
async def test_only_the_key_of_a_ledger_begins_with_the_tenant(database_url: str, ledger: str) -> None:
    """Any other that did would pass for as good as the key before a large run's statistics are known.

    All of a tenant's items would then be read to find a page of one run.
    """
    query = """
        SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
        JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[0]
        WHERE x.indrelid = $1::regclass AND a.attname = 'tenant_id'
    """
    connection = await asyncpg.connect(database_url)
    found = [row["relname"] for row in await connection.fetch(query, ledger)]
    await connection.close()
    assert found == [f"pk_{ledger}"]
