"""Who may sign in. Users belong to no single tenant, so these queries stand outside a tenant's transaction."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any
from uuid import UUID

from sqlalchemy import Select, Text, bindparam, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.domain.operations import Role
from shared.front_door import User
from shared.persistence.arrays import Types, array_table, array_values, found_for_each
from shared.persistence.asking import A, Alone, Kind, Q
from shared.persistence.audit import SqlAudit
from shared.persistence.database import committing_each, translated
from shared.persistence.tables import memberships, users
from shared.persistence.tenants import ROLE
from shared.ports import AuditEntry
from shared.runtime.batching import Batcher

_AT_ONCE = 200  # callers that are looked up by one statement

_BY_IDENTITY = select(users.c.id, users.c.name).where(
    users.c.oidc_issuer == bindparam("of_issuer"),
    users.c.oidc_subject == bindparam("of_subject"),
    users.c.disabled_at.is_(None),
)
_BIND = (
    update(users)
    .where(func.lower(users.c.email) == bindparam("of_email"), users.c.oidc_subject.is_(None))
    .where(users.c.disabled_at.is_(None))
    .values(oidc_issuer=bindparam("of_issuer"), oidc_subject=bindparam("of_subject"))
    .returning(users.c.id, users.c.name)
)


class SqlDirectory:
    """`Directory` over PostgreSQL. Raises `TransientError(SERVICE_UNAVAILABLE)` when it does not answer.

    Callers who come while a look is under way share the next one: nobody is told what was read before the question.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        """Read through `engine`, each look in a connection of its own."""
        self._engine = committing_each(engine)
        self._whole = engine
        self._users = Batcher(partial(self._look, _BY_TOKEN), max_items=_AT_ONCE, max_wait=0)
        self._roles = Batcher(partial(self._look, ROLE), max_items=_AT_ONCE, max_wait=0)

    async def by_token(self, token_sha256: str) -> User | None:
        """Return the enabled user with this service token."""
        return await self._users.submit(token_sha256)

    async def by_identity(self, issuer: str, subject: str) -> User | None:
        """Return the enabled user whom the issuer knows as this subject."""
        of = {"of_issuer": issuer, "of_subject": subject}
        with translated():
            async with self._engine.connect() as connection:
                row = (await connection.execute(_BY_IDENTITY, of)).first()
        return User(row.id, row.name) if row else None

    async def bind(self, issuer: str, subject: str, email: str) -> User | None:
        """Bind the enabled user with this e-mail address, if nobody was bound yet: neither the user nor the subject.

        Of two sign-ins at once both find the user whom the first one bound.
        """
        of = {"of_issuer": issuer, "of_subject": subject, "of_email": email}
        try:
            with translated():
                async with self._whole.begin() as connection:
                    row = (await connection.execute(_BIND, of)).first()
                    if row is not None:
                        await note_in_every_tenant(connection, row.id, _BOUND)
        except IntegrityError:  # the subject is somebody else's already
            row = None
        return User(row.id, row.name) if row else await self.by_identity(issuer, subject)

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


_BOUND = AuditEntry(
    action="member.bound",
    outcome="success",
    actor_type="system",
    actor_name="sign-in",
    summary="A user was bound to a subject of the issuer by a verified e-mail address",
)


async def note_in_every_tenant(connection: AsyncConnection, user_id: UUID, entry: AuditEntry) -> None:
    """Audit what concerns a user in each tenant the user belongs to."""
    theirs = select(memberships.c.tenant_id).where(memberships.c.user_id == user_id)
    found = await connection.scalars(
        theirs.order_by(memberships.c.tenant_id)
    )  # an order, so that nobody locks crosswise
    for tenant_id in found.all():
        await SqlAudit(Alone(connection), tenant_id).add(replace(entry, target_type="member", target_id=user_id))
