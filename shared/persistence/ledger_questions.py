"""What the ledger asks, for one run or for several that share a transaction."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from operator import attrgetter
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.errors import safe_context
from shared.domain.items import ItemState
from shared.domain.runs import RunType
from shared.persistence import ledger_statements as statements
from shared.persistence import settle_statements as settling
from shared.persistence.arrays import Types, array_values
from shared.persistence.asking import Kind
from shared.persistence.changing import Change, Changed, Columns, changing, row_of
from shared.persistence.leases import HELD, held
from shared.persistence.run_rows import RUN_TABLES, RunTable
from shared.ports import Item, ItemResult, Lease

_STATES = {state.value: state for state in ItemState}
_ordinal = attrgetter("ordinal")


def _changing(
    name: str, types: Mapping[RunType, Types], build: Callable[[RunTable, Columns], Any]
) -> dict[RunType, Change]:
    return {
        run_type: changing(f"ledger.{name}.{run_type}", types[run_type], "held_run", partial(build, table))
        for run_type, table in RUN_TABLES.items()
    }


_BY_LEASE = dict.fromkeys(RUN_TABLES, HELD)
STARTED = _changing("start", _BY_LEASE, statements.start)
EXPANDED = _changing("expanded", _BY_LEASE, statements.expanded)
FINISHED = _changing("finish", statements.FINISH_TYPES, statements.finish)


def _paging(run_type: RunType) -> Callable[[AsyncConnection, Sequence[Mapping[str, Any]]], Any]:
    async def open_pages(connection: AsyncConnection, asked: Sequence[Mapping[str, Any]]) -> list[list[Item]]:
        if len(asked) == 1:
            rows = await connection.execute(statements.open_page(run_type), asked[0])
            return [[_item(row) for row in rows]]
        types = statements.PAGE_TYPES
        given = array_values("given", types, {name: [one[name] for one in asked] for name in types})
        pages: dict[UUID, list[Item]] = {one["held_run"]: [] for one in asked}
        for run_id, *row in await connection.execute(statements.open_pages(run_type), given):
            pages[run_id].append(_item(row))
        return [pages[one["held_run"]] for one in asked]

    return open_pages


Settled: TypeAlias = tuple[Lease, Sequence[ItemResult]]


def _settling(run_type: RunType) -> Callable[[AsyncConnection, Sequence[Settled]], Any]:
    async def settle(connection: AsyncConnection, asked: Sequence[Settled]) -> list[Changed]:
        """Lock the runs in the order of their ids, as whoever takes them up."""
        if len(asked) == 1:
            [(lease, results)] = asked
            values = {**held(lease), **settlement(lease, results)}
            return [row_of(await connection.execute(settling.settle(run_type), values))]
        leases = sorted((held(lease) for lease, _ in asked), key=lambda one: (one["held_tenant"], one["held_run"]))
        outcomes = [(lease.run_id, one, _kind(one)) for lease, results in asked for one in results]
        columns: dict[str, list[Any]] = {
            "run": [run_id for run_id, _, _ in outcomes],
            "ordinal": [result.ordinal for _, result, _ in outcomes],
            **{name: [kind[name] for _, _, kind in outcomes] for name in settling.KIND_TYPES[run_type]},
        }
        given = {
            **array_values("leases", HELD, {name: [one[name] for one in leases] for name in HELD}),
            **array_values("given", settling.EACH_TYPES[run_type], columns),
        }
        rows = (await connection.execute(settling.settle_each(run_type), given)).mappings()
        settled = {row["id"]: dict(row) for row in rows}
        return [settled.get(lease.run_id) for lease, _ in asked]

    return settle


def _counting(run_type: RunType) -> Callable[[AsyncConnection, Sequence[tuple[UUID, UUID]]], Any]:
    async def count(connection: AsyncConnection, asked: Sequence[tuple[UUID, UUID]]) -> list[dict[str, int]]:
        of_tenants, run_ids = zip(*asked, strict=True)
        given = array_values("given", statements.OUTCOMES_TYPES, {"tenant": of_tenants, "run": run_ids})
        counted: dict[UUID, dict[str, int]] = {run_id: {} for run_id in run_ids}
        for run_id, outcome, number in await connection.execute(statements.outcomes(run_type), given):
            counted[run_id][outcome] = number
        return [counted[run_id] for run_id in run_ids]

    return count


PAGE: dict[RunType, Kind[Mapping[str, Any], list[Item]]] = {
    run_type: Kind(f"ledger.page.{run_type}", _paging(run_type), changes=True) for run_type in RUN_TABLES
}
FEW_SETTLED: dict[RunType, Kind[Settled, Changed]] = {
    run_type: Kind(f"ledger.settle.{run_type}", _settling(run_type), changes=True, is_conditional=True)
    for run_type in RUN_TABLES
}
OUTCOMES: dict[RunType, Kind[tuple[UUID, UUID], dict[str, int]]] = {
    run_type: Kind(f"ledger.outcomes.{run_type}", _counting(run_type)) for run_type in RUN_TABLES
}


def settlement(lease: Lease, span: Sequence[ItemResult]) -> dict[str, Any]:
    """Return what `statements.settle` is given for outcomes in the order of their ordinals."""
    kinds, given = _kinds(span)
    arrays = array_values("given", settling.KIND_TYPES[lease.run_type], given)
    of = {"of_tenant": lease.tenant_id, "of_run": lease.run_id}
    return {**of, **bounds([one.ordinal for one in span]), "given_kinds": kinds, **arrays}


def _kinds(span: Sequence[ItemResult]) -> tuple[list[int], dict[str, list[Any]]]:
    """Return which kind of outcome each ordinal of the span has, from 1, and the kinds as columns, one array each."""
    lowest, highest = (span[0].ordinal, span[-1].ordinal) if span else (0, -1)
    kinds = [0] * (highest - lowest + 1)
    known: dict[Hashable, int] = {}
    distinct: list[ItemResult] = []
    for result in span:
        same = (result.outcome, result.code, result.remote_id, result.retry_in, result.is_attempt, result.keep_intent)
        key: Hashable = same if not result.context and result.plan is None else result.ordinal
        kind = known.get(key)
        if kind is None:
            distinct.append(result)
            kind = known[key] = len(distinct)
        kinds[result.ordinal - lowest] = kind
    columns = [_kind(result) for result in distinct]
    return kinds, {name: [column[name] for column in columns] for name in _KIND}


def _kind(result: ItemResult) -> dict[str, Any]:
    """Return what an outcome makes of its item, as columns."""
    return {
        "state": result.outcome.state if result.outcome else ItemState.PENDING,
        "outcome": result.outcome,
        "code": result.code,
        "context": safe_context(result.context) if result.context else None,
        "remote_id": result.remote_id,
        "plan": dict(result.plan) if result.plan is not None else None,
        "delay_ms": _milliseconds(result.retry_in),
        "attempts": int(result.is_attempt),
        "keeps_intent": result.outcome is None and result.keep_intent,
    }


_KIND = settling.KIND_TYPES[RunType.RESTORE]  # which has all of them


def bounds(ordinals: Sequence[int]) -> dict[str, int]:
    """Return between which ordinals these lie, as parameters."""
    return {"lowest": min(ordinals), "highest": max(ordinals)} if ordinals else {"lowest": 0, "highest": -1}


def _milliseconds(delay: timedelta | None) -> int | None:
    return None if delay is None else round(delay.total_seconds() * 1000)


def _item(row: Iterable[Any]) -> Item:
    ordinal, item_id, state, *others = tuple(row)
    return Item(ordinal, item_id, _STATES[state], *others)
