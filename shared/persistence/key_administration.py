"""What an administrator does to keys and stored credentials, each change with a line in the audit trail."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, cast, delete, func, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.domain.errors import PermanentError, SafeCode
from shared.keys.envelope import KEY_BYTES, VEIL_GENERATION, Purpose
from shared.keys.ring import KeyRing, KeyUnavailable
from shared.persistence.audit import append, by_command
from shared.persistence.database import translated
from shared.persistence.tables import JSONB, data_keys, tenant_credentials, tenants
from shared.persistence.vault import Vault, wrapped_key, wrapping_context
from shared.persistence.walls.declaring import declared
from shared.persistence.walls.roles import DbRole
from shared.runtime.ids import new_id

STORED = {"secret_ref": "stored:"}
_BATCH = 100  # keys in one transaction
_SHREDDED = "shredded"  # stands for a key-encryption key where there was no data key to destroy
_ORDER = (data_keys.c.tenant_id, data_keys.c.generation)


@dataclass(frozen=True, slots=True)
class KekUse:
    """What one key-encryption key still wraps. It may be thrown away once that is nothing, backups included."""

    kek_id: str
    data_keys: int
    tenants: int


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """Every data key in sum; `most_uses` is of the key that was used most."""

    uses: Sequence[KekUse]
    tenants: int
    shredded_tenants: int
    most_uses: int


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """A step of a rotation: data keys wrapped anew, and those whose old key-encryption key is not set."""

    done: int
    left: int


class SqlKeyAdministration:
    """Outside of any tenant's transaction. `actor` is the name in the audit trail; `ring` opens and wraps."""

    def __init__(self, engine: AsyncEngine, ring: KeyRing, *, actor: str) -> None:
        """Write through `engine`, each call or batch one transaction."""
        self._engine = engine
        self._ring = ring
        self._actor = actor

    async def facts(self) -> KeyFacts:
        """Count; opens nothing."""
        keys, is_whole = data_keys.c, data_keys.c.wrapped.is_not(None)
        by_kek = (
            select(keys.kek_id, func.count(), func.count(keys.tenant_id.distinct()))
            .where(is_whole)
            .group_by(keys.kek_id)
            .order_by(keys.kek_id)
        )
        sums = select(
            func.count(keys.tenant_id.distinct()),
            func.count(keys.tenant_id.distinct()).filter(~is_whole),
            func.coalesce(func.max(keys.uses), 0),
        )
        with translated():
            async with declared(self._engine, role=DbRole.STEWARD) as connected:
                uses = [KekUse(*row) for row in await connected.execute(by_kek)]
                all_tenants, shredded, most_uses = (await connected.execute(sums)).one()
        return KeyFacts(uses, all_tenants, shredded, most_uses)

    async def rewrap(self) -> AsyncIterator[Rewrapped]:
        """Wrap by the active key what another one wraps; yield after every transaction.

        Data keys themselves stay, so nothing that is sealed changes and nobody waits. Stopped anywhere it goes on with
        what is left. A key that is destroyed meanwhile stays destroyed.
        """
        after: tuple[UUID, int] | None = None
        while rows := await self._others(after):
            after = (rows[-1].tenant_id, rows[-1].generation)
            anew = [one for row in rows if (one := await self._anew(row)) is not None]
            done = 0
            with translated():
                async with declared(self._engine, role=DbRole.STEWARD) as connected:
                    for row, wrapped in anew:
                        if await self._replaced(connected, row, wrapped):
                            done += 1
                            summary = "A data key was wrapped by another key-encryption key"
                            await self._audit(connected, row.tenant_id, "data_key.rewrapped", summary, row.id)
            yield Rewrapped(done, len(rows) - len(anew))

    async def begin_generation(self, tenant_id: UUID) -> int:
        """Begin a new data key for what is sealed from now on; return its number.

        Raises `PermanentError(TENANT_SHREDDED)`. Services notice within seconds; older values open as before.
        """
        with translated():
            async with declared(self._engine, role=DbRole.STEWARD) as connected:
                newest = await self._newest(connected, tenant_id)
                made = [newest + 1] if newest is not None else [VEIL_GENERATION, VEIL_GENERATION + 1]
                for generation in made:
                    row = await wrapped_key(self._ring, tenant_id, generation)
                    await connected.execute(insert(data_keys).values(row))
                summary = "A new data key was begun"
                await self._audit(connected, tenant_id, "data_key.begun", summary, tenant_id, count=made[-1])
        return made[-1]

    async def shred(self, tenant_id: UUID) -> int:
        """Destroy every data key and the stored credential, and end the tenant's work; return how many keys it had."""
        with translated():
            async with declared(self._engine, role=DbRole.STEWARD) as connected:
                locked = select(tenants.c.id).where(tenants.c.id == tenant_id).with_for_update()
                await connected.execute(locked)
                of_tenant = data_keys.c.tenant_id == tenant_id
                gone = (
                    update(data_keys)
                    .where(of_tenant, data_keys.c.wrapped.is_not(None))
                    .values(wrapped=None, destroyed_at=func.clock_timestamp())
                )
                count = (await connected.execute(gone)).rowcount
                mark = {"tenant_id": tenant_id, "generation": VEIL_GENERATION, "id": new_id(), "kek_id": _SHREDDED}
                # Where there was no key yet, none may be made any more.
                tomb = insert(data_keys).values(**mark, destroyed_at=func.clock_timestamp())
                await connected.execute(tomb.on_conflict_do_nothing())
                await connected.execute(delete(tenant_credentials).where(tenant_credentials.c.tenant_id == tenant_id))
                await connected.execute(update(tenants).where(tenants.c.id == tenant_id).values(status="offboarded"))
                summary = "The tenant's keys were destroyed"
                await self._audit(connected, tenant_id, "tenant.shredded", summary, tenant_id, count=count)
        return count

    async def store_credential(self, tenant_id: UUID, secret: str) -> None:
        """Seal a tenant's credential and let its connection refer to it. Raises as `Keys` does."""
        sealer = await Vault(self._engine, self._ring, uses_at_once=1).of(tenant_id).sealer(1)
        content = sealer.seal(Purpose.CREDENTIAL, (), secret.encode())
        new = insert(tenant_credentials).values(tenant_id=tenant_id, content=content)
        changed = {"content": new.excluded.content, "updated_at": func.clock_timestamp()}
        refers = tenants.c.connection.op("||")(cast(literal(STORED, JSONB), JSONB))
        with translated():
            async with declared(self._engine, role=DbRole.STEWARD) as connected:
                await connected.execute(new.on_conflict_do_update(index_elements=["tenant_id"], set_=changed))
                await connected.execute(update(tenants).where(tenants.c.id == tenant_id).values(connection=refers))
                summary = "The tenant's credential was stored"
                await self._audit(connected, tenant_id, "tenant.credential_stored", summary, tenant_id)

    async def _others(self, after: tuple[UUID, int] | None) -> Sequence[Row[Any]]:
        statement = (
            select(data_keys)
            .where(data_keys.c.kek_id != self._ring.active, data_keys.c.wrapped.is_not(None))
            .order_by(*_ORDER)
            .limit(_BATCH)
        )
        if after is not None:
            statement = statement.where(tuple_(*_ORDER) > tuple_(*after))
        with translated():
            async with declared(self._engine, role=DbRole.STEWARD) as connected:
                return (await connected.execute(statement)).all()

    async def _anew(self, row: Row[Any]) -> tuple[Row[Any], bytes] | None:
        """Return the row and its key as the active key wraps it, tried once; None when it does not open."""
        context = wrapping_context(row.tenant_id, row.generation, row.id)
        try:
            secret = await self._ring.unwrap(row.kek_id, row.wrapped, context)
        except KeyUnavailable:
            return None
        wrapped = await self._ring.wrap(secret, context)
        if len(secret) != KEY_BYTES or await self._ring.unwrap(self._ring.active, wrapped, context) != secret:
            raise KeyUnavailable("does_not_wrap")
        return row, wrapped

    async def _replaced(self, connected: AsyncConnection, row: Row[Any], wrapped: bytes) -> bool:
        statement = (
            update(data_keys)
            .where(data_keys.c.id == row.id, data_keys.c.wrapped == row.wrapped)
            .values(wrapped=wrapped, kek_id=self._ring.active)
        )
        return (await connected.execute(statement)).rowcount == 1

    async def _newest(self, connected: AsyncConnection, tenant_id: UUID) -> int | None:
        await connected.execute(select(tenants.c.id).where(tenants.c.id == tenant_id).with_for_update())
        statement = select(data_keys.c.generation, data_keys.c.wrapped).where(data_keys.c.tenant_id == tenant_id)
        rows = (await connected.execute(statement.order_by(data_keys.c.generation.desc()))).all()
        if any(row.wrapped is None for row in rows):
            raise PermanentError(SafeCode.TENANT_SHREDDED)
        return rows[0].generation if rows else None

    async def _audit(
        self,
        connected: AsyncConnection,
        tenant_id: UUID,
        action: str,
        summary: str,
        target_id: UUID,
        count: int | None = None,
    ) -> None:
        context = {} if count is None else {"count": count}
        entry = by_command(self._actor, action, summary, target_id, context=context)
        await append(connected, [(tenant_id, entry)])
