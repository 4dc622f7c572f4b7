"""The inbox: what was already taken, and the run it led to."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Delete, Select, Text, Update, and_, bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert

from shared.domain.runs import RunType
from shared.persistence.arrays import Types, array_table, array_values, found_for_each
from shared.persistence.asking import Asking, Kind
from shared.persistence.tables import inbox
from shared.ports import Seen
from shared.runtime.metrics import DUPLICATES


class _Key(NamedTuple):
    """Which request or message."""

    tenant_id: UUID
    consumer: str
    message_id: str


class SqlInbox:
    """`InboxPort` inside one transaction."""

    def __init__(self, asking: Asking, tenant_id: UUID) -> None:
        """Work inside the transaction of `asking`."""
        self._asking = asking
        self._tenant_id = tenant_id
        self._taken: list[_Key] = []

    async def take(self, consumer: str, message_id: str, body_sha256: str) -> Seen | None:
        """Record the message as taken; return what was recorded before, if anything.

        A concurrent copy waits here until the first one's transaction ends.
        """
        key = _Key(self._tenant_id, consumer, message_id)
        seen = await self._asking.ask(_TAKE, (key, body_sha256))
        if seen is None:
            self._taken.append(key)
        else:
            DUPLICATES.labels("inbox").inc()
        return seen

    async def answer(self, consumer: str, message_id: str, run_type: RunType, run_id: UUID) -> None:
        """Remember the run that the message led to."""
        await self._asking.ask(_ANSWER, (_Key(self._tenant_id, consumer, message_id), run_type, run_id))

    async def forget(self) -> None:
        """Take back what was taken through this repository: a refused request may come again under its id."""
        for key in self._taken:
            await self._asking.ask(_FORGET, key)


async def _take(connection: AsyncConnection, asked: Sequence[tuple[_Key, str]]) -> list[Seen | None]:
    """Take each; nobody asks twice for the same at a time."""
    inserted = await connection.execute(_insert(), _given(sorted(asked)))
    taken = {_Key(*row) for row in inserted}
    before = [(key, body) for key, body in asked if key not in taken]
    if not before:
        return [None] * len(asked)
    rows = await connection.execute(_seen(), _given(before))
    seen = {_Key(row.tenant_id, row.consumer, row.message_id): row for row in rows}
    return [None if key in taken else _read(seen[key]) for key, _ in asked]


async def _answer(connection: AsyncConnection, asked: Sequence[tuple[_Key, RunType, UUID]]) -> list[None]:
    rows = [{**_of(key), "led_to_type": run_type.value, "led_to_run": run_id} for key, run_type, run_id in asked]
    await connection.execute(_remember(), rows)
    return [None] * len(asked)


async def _forget(connection: AsyncConnection, asked: Sequence[_Key]) -> list[None]:
    await connection.execute(_delete(), [_of(key) for key in asked])
    return [None] * len(asked)


_TAKE = Kind("inbox.take", _take)  # `forget` takes it back
_ANSWER = Kind("inbox.answer", _answer, changes=True)
_FORGET = Kind("inbox.forget", _forget)

_GIVEN: Types = {
    "tenant_id": inbox.c.tenant_id.type,
    **dict.fromkeys(("consumer", "message_id", "body_sha256"), Text()),
}
_TENANT = bindparam("of_tenant", type_=inbox.c.tenant_id.type)
_CONSUMER = bindparam("of_consumer", type_=Text())
_MESSAGE = bindparam("of_message", type_=Text())
_IS_IT = and_(inbox.c.tenant_id == _TENANT, inbox.c.consumer == _CONSUMER, inbox.c.message_id == _MESSAGE)


def _given(asked: Sequence[tuple[_Key, str]]) -> dict[str, Any]:
    columns = zip(*((*key, body) for key, body in asked), strict=True)
    return array_values("given", _GIVEN, dict(zip(_GIVEN, columns, strict=True)))


def _of(key: _Key) -> dict[str, Any]:
    return {"of_tenant": key.tenant_id, "of_consumer": key.consumer, "of_message": key.message_id}


def _read(row: Any) -> Seen:  # noqa: ANN401  SQLAlchemy's row
    return Seen(row.body_sha256, RunType(row.run_type) if row.run_type else None, row.run_id)


@cache
def _insert() -> ReturningInsert[Any]:
    given = array_table("given", _GIVEN)
    rows = insert(inbox).from_select(list(_GIVEN), select(*given.c))
    return rows.on_conflict_do_nothing().returning(inbox.c.tenant_id, inbox.c.consumer, inbox.c.message_id)


@cache
def _seen() -> Select[Any]:
    given = array_table("given", _GIVEN)
    return found_for_each(given, select(inbox).where(*(inbox.c[name] == given.c[name] for name in _Key._fields)))


@cache
def _remember() -> Update:
    led_to: dict[str, Any] = {"run_type": bindparam("led_to_type"), "run_id": bindparam("led_to_run")}
    return update(inbox).where(_IS_IT).values(**led_to)


@cache
def _delete() -> Delete:
    return delete(inbox).where(_IS_IT)
