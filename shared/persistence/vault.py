"""The data keys of tenants: made, opened, kept for a moment, and never used more often than their nonces allow."""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Row, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.domain.errors import PermanentError, SafeCode
from shared.keys.envelope import (
    KEY_BYTES,
    MOST_USES,
    VEIL_GENERATION,
    DataKey,
    Sealer,
    TenantCipher,
    bound,
    generation_of,
)
from shared.keys.ring import KeyRing, KeyUnavailable
from shared.persistence.database import translated
from shared.persistence.tables import data_keys
from shared.persistence.walls.declaring import declared
from shared.runtime.ids import new_id

REFRESH = 10.0  # seconds that opened keys are used without looking whether they are still there
USES_AT_ONCE = 4096  # given out to a process; what it leaves is lost, and 2^20 processes may leave some
_TENANTS = 1000  # whose opened keys are kept


class Keys(Protocol):
    """The keys of one tenant. Both raise `KeyUnavailable`, `PermanentError(TENANT_SHREDDED)`, `TransientError`."""

    async def cipher(self, *sealed: bytes) -> TenantCipher:
        """Return what opens these values, veils and unveils."""
        ...

    async def sealer(self, uses: int) -> Sealer:
        """Return what seals so many values."""
        ...


class NoKeys:
    """For processes that were given no key-encryption key: they cannot open anything, and write nothing in clear."""

    async def cipher(self, *_sealed: bytes) -> TenantCipher:
        """Raise."""
        raise KeyUnavailable("not_set")

    async def sealer(self, _uses: int) -> Sealer:
        """Raise."""
        raise KeyUnavailable("not_set")


def wrapping_context(tenant_id: UUID, generation: int, key_id: UUID) -> bytes:
    """Return what a wrapped data key is bound to: it opens for its own tenant and generation only."""
    return bound(tenant_id, "data-key", str(key_id), str(generation))


async def wrapped_key(ring: KeyRing, tenant_id: UUID, generation: int) -> dict[str, Any]:
    """Make a data key; return its row."""
    key_id = new_id()
    wrapped = await ring.wrap(secrets.token_bytes(KEY_BYTES), wrapping_context(tenant_id, generation, key_id))
    row = {"tenant_id": tenant_id, "generation": generation, "id": key_id}
    return {**row, "kek_id": ring.active, "wrapped": wrapped}


@dataclass(slots=True)
class _Held:
    cipher: TenantCipher
    looked_at: float


@dataclass(slots=True)
class _Tenant:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    held: _Held | None = None
    room: tuple[UUID, int] | None = None  # a key, and how often this process may still use it


class Vault:
    """Opens data keys through `engine`, apart from anybody's transaction: a key is committed before it is used.

    The engine must not be one whose connections wait for this: give it a pool of its own. Belongs to one event loop.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        ring: KeyRing,
        *,
        refresh: float = REFRESH,
        most_uses: int = MOST_USES,
        uses_at_once: int = USES_AT_ONCE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """A key that was replaced or destroyed elsewhere is noticed after `refresh` seconds at the latest."""
        self._engine = engine
        self._ring = ring
        self._refresh = refresh
        self._most_uses = most_uses
        self._uses_at_once = min(uses_at_once, most_uses)
        self._monotonic = monotonic
        self._tenants: OrderedDict[UUID, _Tenant] = OrderedDict()

    def of(self, tenant_id: UUID) -> Keys:
        """Return the keys of a tenant; nothing is opened yet."""
        return _TenantKeys(self, tenant_id)

    async def cipher(self, tenant_id: UUID, sealed: Sequence[bytes]) -> TenantCipher:
        """As `Keys.cipher`. Keys are made for a tenant that has none."""
        tenant = self._entry(tenant_id)
        async with tenant.lock:
            cipher = await self._cipher(tenant_id, tenant)
            if all(cipher.knows(generation) for generation in _generations(sealed)):
                return cipher
            return await self._opened(tenant_id, tenant)  # another process has begun a generation

    async def sealer(self, tenant_id: UUID, uses: int) -> Sealer:
        """As `Keys.sealer`; raise `ValueError` for more uses than a key has."""
        if uses > self._most_uses:
            raise ValueError("more uses at once than a key has")
        tenant = self._entry(tenant_id)
        async with tenant.lock:
            cipher = await self._cipher(tenant_id, tenant)
            key = cipher.newest
            while tenant.room is None or tenant.room[0] != key.id or tenant.room[1] < uses:
                if await self._reserve(tenant_id, key, max(uses, self._uses_at_once)):
                    tenant.room = (key.id, max(uses, self._uses_at_once))
                    continue
                cipher = await self._opened(tenant_id, tenant)  # raises when the keys were destroyed
                if cipher.newest.id == key.id:  # worn out
                    row = await wrapped_key(self._ring, tenant_id, key.generation + 1)
                    await self._execute(tenant_id, insert(data_keys).values(row).on_conflict_do_nothing())
                    cipher = await self._opened(tenant_id, tenant)
                key = cipher.newest
            tenant.room = (key.id, tenant.room[1] - uses)
            return Sealer(cipher, key, uses)

    def _entry(self, tenant_id: UUID) -> _Tenant:
        tenant = self._tenants.setdefault(tenant_id, _Tenant())
        self._tenants.move_to_end(tenant_id)
        while len(self._tenants) > _TENANTS:
            self._tenants.popitem(last=False)
        return tenant

    async def _cipher(self, tenant_id: UUID, tenant: _Tenant) -> TenantCipher:
        held = tenant.held
        if held is None or self._monotonic() - held.looked_at >= self._refresh:
            return await self._opened(tenant_id, tenant)
        return held.cipher

    async def _opened(self, tenant_id: UUID, tenant: _Tenant) -> TenantCipher:
        looked_at = self._monotonic()
        before = tenant.held.cipher if tenant.held else None
        tenant.held = None
        rows = await self._rows(tenant_id)
        if not rows:
            # In one statement: nobody may ever see the key for hashes alone, and seal with it.
            made = [await wrapped_key(self._ring, tenant_id, one) for one in (VEIL_GENERATION, VEIL_GENERATION + 1)]
            await self._execute(tenant_id, insert(data_keys).values(made).on_conflict_do_nothing())
            rows = await self._rows(tenant_id)
        if any(row.wrapped is None for row in rows):
            raise PermanentError(SafeCode.TENANT_SHREDDED)
        keys = {row.generation: await self._open(tenant_id, row, before) for row in rows}
        tenant.held = _Held(TenantCipher(tenant_id, keys), looked_at)
        return tenant.held.cipher

    async def _open(self, tenant_id: UUID, row: Row[Any], before: TenantCipher | None) -> DataKey:
        known = before.by_id(row.id) if before else None  # a key management service is asked once
        if known is not None:
            return known
        context = wrapping_context(tenant_id, row.generation, row.id)
        return DataKey(row.id, row.generation, await self._ring.unwrap(row.kek_id, row.wrapped, context))

    async def _rows(self, tenant_id: UUID) -> Sequence[Row[Any]]:
        columns: list[Any] = [data_keys.c.generation, data_keys.c.id, data_keys.c.kek_id, data_keys.c.wrapped]
        statement = select(*columns).where(data_keys.c.tenant_id == tenant_id).order_by(data_keys.c.generation)
        with translated():
            async with declared(self._engine, [tenant_id]) as connection:
                return (await connection.execute(statement)).all()

    async def _reserve(self, tenant_id: UUID, key: DataKey, uses: int) -> bool:
        """Count the uses before they happen; False when the key has not so many left."""
        statement = (
            update(data_keys)
            .where(data_keys.c.id == key.id, data_keys.c.wrapped.is_not(None))
            .where(data_keys.c.uses + uses <= self._most_uses)
            .values(uses=data_keys.c.uses + uses)
        )
        return await self._execute(tenant_id, statement) == 1

    async def _execute(self, tenant_id: UUID, statement: Any) -> int:  # noqa: ANN401  an insert or an update
        with translated():
            async with declared(self._engine, [tenant_id]) as connection:
                count: int = (await connection.execute(statement)).rowcount
                return count


@dataclass(frozen=True, slots=True)
class _TenantKeys:
    vault: Vault
    tenant_id: UUID

    async def cipher(self, *sealed: bytes) -> TenantCipher:
        return await self.vault.cipher(self.tenant_id, sealed)

    async def sealer(self, uses: int) -> Sealer:
        return await self.vault.sealer(self.tenant_id, uses)


def _generations(sealed: Sequence[bytes]) -> set[int]:
    found = set()
    for one in sealed:
        try:
            found.add(generation_of(one))
        except PermanentError:  # debris: whoever opens it is told
            continue
    return found
