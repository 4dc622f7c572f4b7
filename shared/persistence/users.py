"""Who may sign in. Users belong to no single tenant, so these queries stand outside a tenant's transaction."""

from collections.abc import Sequence
from functools import cache, partial
from typing import Any
from uuid import UUID

from sqlalchemy import Select, Text, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.domain.operations import Role
from shared.front_door import User
from shared.persistence.arrays import Types, array_table, array_values, found_for_each
from shared.persistence.asking import A, Kind, Q
from shared.persistence.database import committing_each, translated
from shared.persistence.tables import users
from shared.persistence.tenants import ROLE
from shared.runtime.batching import Batcher

_AT_ONCE = 200  # callers that are looked up by one statement


class SqlDirectory:
    """`Directory` over PostgreSQL. Raises `TransientError(SERVICE_UNAVAILABLE)` when it does not answer.

    Callers who come while a look is under way share the next one: nobody is told what was read before the question.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        """Read through `engine`, each look in a connection of its own."""
        self._engine = committing_each(engine)
        self._users = Batcher(partial(self._look, _BY_TOKEN), max_items=_AT_ONCE, max_wait=0)
        self._roles = Batcher(partial(self._look, ROLE), max_items=_AT_ONCE, max_wait=0)

    async def by_token(self, token_sha256: str) -> User | None:
        """Return the enabled user with this service token."""
        return await self._users.submit(token_sha256)

    async def role(self, tenant_id: UUID, user_id: UUID) -> Role | None:
        """Return the user's role in the tenant; None for strangers."""
        return await self._roles.submit((tenant_id, user_id))

    async def _look(self, kind: Kind[Q, A], asked: Sequence[Q]) -> Sequence[A]:
        with translated():
            async with self._engine.connect() as connection:
                return await kind.answer(connection, asked)


async def _users(connection: AsyncConnection, tokens: Sequence[str]) -> list[User | None]:
    values = array_values("given", _TOKENS, {"token": list(set(tokens))})
    found = {row.token: User(row.id, row.name) for row in await connection.execute(_by_token(), values)}
    return [found.get(token) for token in tokens]


_BY_TOKEN = Kind("users.by_token", _users)
_TOKENS: Types = {"token": Text()}


@cache
def _by_token() -> Select[Any]:
    given = array_table("given", _TOKENS)
    is_theirs = (users.c.token_sha256 == given.c.token, users.c.disabled_at.is_(None))
    return found_for_each(given, select(users.c.id, users.c.name).where(*is_theirs), given.c.token)
