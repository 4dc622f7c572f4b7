"""Changes of runs as kinds of questions: written once, for a run alone and for several at a time."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Protocol, TypeAlias

from sqlalchemy import ColumnElement, CursorResult, bindparam
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningUpdate

from shared.persistence.arrays import Types, array_table, array_values
from shared.persistence.asking import Kind

Changed: TypeAlias = dict[str, Any] | None  # the run's row
Change: TypeAlias = Kind[Mapping[str, Any], Changed]


class Columns(Protocol):
    """What a statement is given: parameters, or columns of a table."""

    def __getitem__(self, name: str, /) -> ColumnElement[Any]:
        """Return one of them."""
        ...


Build: TypeAlias = Callable[[Columns], ReturningUpdate[Any]]


def parameters(types: Types) -> Columns:
    """Return what a statement for one run is given: a parameter for each name."""
    return {name: bindparam(name, type_=of_type) for name, of_type in types.items()}


def row_of(result: CursorResult[Any]) -> Changed:
    """Return the only row, if there is one."""
    row = result.mappings().first()
    return None if row is None else dict(row)


def changing(name: str, types: Types, key: str, build: Build) -> Change:
    """Return a kind of question that changes one run each and is answered with its row, or with None.

    `build` makes the statement out of what it is given, which has `types`, and returns the run's `id`; `key` says which
    of them names the run. One run is changed by parameters, as any statement; several by a join with their arrays,
    which only a transaction that is shared executes: it asks PostgreSQL for index scans.
    """

    @cache
    def alone() -> ReturningUpdate[Any]:
        return build(parameters(types))

    @cache
    def together() -> ReturningUpdate[Any]:
        given = array_table("given", types)
        return build({name: given.c[name] for name in types})

    async def change(connection: AsyncConnection, asked: Sequence[Mapping[str, Any]]) -> list[Changed]:
        if len(asked) == 1:
            return [row_of(await connection.execute(alone(), asked[0]))]
        columns = {name: [one[name] for one in asked] for name in types}
        rows = (await connection.execute(together(), array_values("given", types, columns))).mappings()
        changed = {row["id"]: dict(row) for row in rows}
        return [changed.get(one[key]) for one in asked]

    return Kind(name, change, changes=True, is_conditional=True)
