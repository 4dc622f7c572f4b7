"""The inbox: what was already taken, and the run it led to."""

from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Select, Text, Update, and_, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert

from shared.domain.runs import RunType
from shared.persistence.tables import inbox
from shared.ports import Seen
from shared.runtime.metrics import DUPLICATES


class SqlInbox:
    """`InboxPort` inside one transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID) -> None:
        """Work inside `connection`'s transaction."""
        self._connection = connection
        self._tenant_id = tenant_id

    async def take(self, consumer: str, message_id: str, body_sha256: str) -> Seen | None:
        """Record the message as taken; return what was recorded before, if anything.

        A concurrent copy waits here until the first one's transaction ends.
        """
        key = self._key(consumer, message_id)
        if await self._connection.scalar(_take(), {**key, "body_sha256": body_sha256}) is not None:
            return None
        row = (await self._connection.execute(_seen(), key)).one()
        DUPLICATES.labels("inbox").inc()
        return Seen(row.body_sha256, RunType(row.run_type) if row.run_type else None, row.run_id)

    async def answer(self, consumer: str, message_id: str, run_type: RunType, run_id: UUID) -> None:
        """Remember the run that the message led to."""
        answer = {"led_to_type": run_type.value, "led_to_run": run_id}
        await self._connection.execute(_answer(), {**self._key(consumer, message_id), **answer})

    def _key(self, consumer: str, message_id: str) -> dict[str, Any]:
        return {"of_tenant": self._tenant_id, "of_consumer": consumer, "of_message": message_id}


_TENANT = bindparam("of_tenant", type_=inbox.c.tenant_id.type)
_CONSUMER = bindparam("of_consumer", type_=Text())
_MESSAGE = bindparam("of_message", type_=Text())
_IS_IT = and_(inbox.c.tenant_id == _TENANT, inbox.c.consumer == _CONSUMER, inbox.c.message_id == _MESSAGE)


@cache
def _take() -> ReturningInsert[Any]:
    row = insert(inbox).values(
        tenant_id=_TENANT, consumer=_CONSUMER, message_id=_MESSAGE, body_sha256=bindparam("body_sha256")
    )
    return row.on_conflict_do_nothing().returning(inbox.c.message_id)


@cache
def _seen() -> Select[Any]:
    return select(inbox.c.body_sha256, inbox.c.run_type, inbox.c.run_id).where(_IS_IT)


@cache
def _answer() -> Update:
    led_to: dict[str, Any] = {"run_type": bindparam("led_to_type"), "run_id": bindparam("led_to_run")}
    return update(inbox).where(_IS_IT).values(**led_to)
