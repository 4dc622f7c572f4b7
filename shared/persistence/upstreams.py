"""Keys of upstream systems as the dispatcher looks them up, and an operator's word for a command that is old.

Whoever administers them: `shared.persistence.upstream_administration`.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Row, Select, Text, any_, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.domain.upstreams import Grants, VerificationKey
from shared.front_door import FoundKey
from shared.persistence.database import committing_each, translated
from shared.persistence.tables import redrives, upstream_keys, upstreams
from shared.runtime.batching import Batcher

_NOW = func.clock_timestamp()
_AT_ONCE = 200  # keys that are looked up by one statement


class SqlVerificationKeys:
    """`VerificationKeys` over PostgreSQL. Raises `TransientError(SERVICE_UNAVAILABLE)` when it does not answer.

    Nothing is remembered: commands that come while a look is under way share the next one, so nobody is told what was
    read before the question, and a key that was revoked is revoked for every later command.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        """Read through `engine`, each look in a connection of its own."""
        self._engine = committing_each(engine)
        self._looks = Batcher(self._look, max_items=_AT_ONCE, max_wait=0)

    async def find(self, key_id: str) -> FoundKey | None:
        """Return the key with the time by the database's clock; None for an id that nobody registered."""
        return await self._looks.submit(key_id)

    async def _look(self, key_ids: Sequence[str]) -> Sequence[FoundKey | None]:
        with translated():
            async with self._engine.connect() as connection:
                rows = await connection.execute(_keys(), {"ids": sorted(set(key_ids))})
                found = {row.id: FoundKey(_key(row), row.now) for row in rows}
        return [found.get(key_id) for key_id in key_ids]


class Redriven(NamedTuple):
    """Which message: its id and the hash of its body."""

    message_id: str
    body_sha256: str


class SqlRedrives:
    """One tenant's redrives, inside one transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID) -> None:
        """Work inside `connection`'s transaction."""
        self._connection = connection
        self._tenant_id = tenant_id

    async def authorise(self, message: Redriven, *, by: str, reason: str) -> None:
        """Record that somebody answers for the age of this message, from now on."""
        values = {"tenant_id": self._tenant_id, **message._asdict(), "authorised_by": by, "reason": reason}
        again = {"authorised_by": by, "reason": reason, "authorised_at": _NOW}
        key = ["tenant_id", *Redriven._fields]
        await self._connection.execute(
            insert(redrives).values(**values).on_conflict_do_update(index_elements=key, set_=again)
        )

    async def is_authorised(self, message_id: str, body_sha256: str, *, within_seconds: float) -> bool:
        """Tell whether somebody answered for its age no longer ago than that."""
        since = _NOW - func.make_interval(0, 0, 0, 0, 0, 0, within_seconds)
        wanted = select(redrives.c.message_id).where(
            redrives.c.tenant_id == self._tenant_id,
            redrives.c.message_id == message_id,
            redrives.c.body_sha256 == body_sha256,
            redrives.c.authorised_at > since,
        )
        return await self._connection.scalar(wanted) is not None


def grants_of(row: Row[Any]) -> Grants:
    """Read what an upstream may do from its row."""
    return Grants(None if row.all_tenants else frozenset(row.tenant_ids), frozenset(row.operations))


@cache
def _keys() -> Select[Any]:
    key = (upstream_keys.c[name] for name in ("id", "public_key", "valid_from", "valid_until", "revoked_at"))
    owner = (upstreams.c[name] for name in ("name", "all_tenants", "tenant_ids", "operations"))
    wanted = any_(bindparam("ids", type_=ARRAY(Text())))
    return select(*key, *owner, _NOW.label("now")).join(upstreams).where(upstream_keys.c.id == wanted)


def _key(row: Row[Any]) -> VerificationKey:
    return VerificationKey(
        id=row.id,
        upstream=row.name,
        public_key=row.public_key,
        grants=grants_of(row),
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        revoked_at=row.revoked_at,
    )
