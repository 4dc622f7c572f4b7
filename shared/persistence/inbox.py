"""The inbox: what was already taken, and the run it led to."""

from uuid import UUID

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

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
        taken = await self._connection.scalar(
            insert(inbox)
            .values(tenant_id=self._tenant_id, consumer=consumer, message_id=message_id, body_sha256=body_sha256)
            .on_conflict_do_nothing()
            .returning(inbox.c.message_id)
        )
        if taken is not None:
            return None
        statement = select(inbox.c.body_sha256, inbox.c.run_type, inbox.c.run_id).where(
            *self._key(consumer, message_id)
        )
        row = (await self._connection.execute(statement)).one()
        DUPLICATES.labels("inbox").inc()
        return Seen(row.body_sha256, RunType(row.run_type) if row.run_type else None, row.run_id)

    async def answer(self, consumer: str, message_id: str, run_type: RunType, run_id: UUID) -> None:
        """Remember the run that the message led to."""
        await self._connection.execute(
            update(inbox).where(*self._key(consumer, message_id)).values(run_type=run_type.value, run_id=run_id)
        )

    def _key(self, consumer: str, message_id: str) -> tuple[ColumnElement[bool], ...]:
        return (
            inbox.c.tenant_id == self._tenant_id,
            inbox.c.consumer == consumer,
            inbox.c.message_id == message_id,
        )
