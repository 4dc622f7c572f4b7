"""What is new of runs that somebody watches, of any tenants, in one look."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Integer, Select, select
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.front_door import RunKey
from shared.persistence.arrays import unnested
from shared.persistence.database import translated
from shared.persistence.run_rows import RUN_TABLES, RunTable, run_record
from shared.persistence.walls.declaring import declared
from shared.ports import RunRecord


class SqlRunChanges:
    """`RunChanges` over PostgreSQL; each look is a short connection of its own."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Look through `engine`."""
        self._engine = engine

    async def since(self, seen: Mapping[RunKey, int]) -> Sequence[RunRecord]:
        """Return the runs that have an event after the given one, by primary key. Raises `TransientError`."""
        found: list[RunRecord] = []
        with translated():
            async with declared(self._engine, (key.tenant_id for key in seen)) as connection:
                for table in RUN_TABLES.values():
                    mine = [(key, sequence) for key, sequence in seen.items() if key.run_type is table.run_type]
                    if mine:
                        rows = await connection.execute(_newer(table, mine))
                        found += [run_record(table, dict(row)) for row in rows.mappings()]
        return found


def _newer(table: RunTable, seen: Sequence[tuple[RunKey, int]]) -> Select[Any]:
    given = unnested(
        "given",
        {
            "tenant_id": (UUID(as_uuid=True), [key.tenant_id for key, _ in seen]),
            "id": (UUID(as_uuid=True), [key.run_id for key, _ in seen]),
            "event_seq": (Integer(), [sequence for _, sequence in seen]),
        },
    )
    runs = table.runs.c
    return (
        select(*table.columns())
        .where(runs.tenant_id == given.c.tenant_id, runs.id == given.c.id)
        .where(runs.event_seq > given.c.event_seq)
    )
