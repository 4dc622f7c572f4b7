"""Content-addressed snapshots: one row per distinct content of a tenant, verified whenever it is read.

The key is the SHA-256 of the canonical JSON (RFC 8785) before compression, so that capturing an unchanged policy costs
no second copy, and no row can be changed without being noticed. The row has the content sealed and the hash veiled: its
*address*, which is what other rows refer to (ADR 26).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import rfc8785
import zstandard
from sqlalchemy import Integer, LargeBinary, Text, Uuid, any_, bindparam, cast, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.errors import PermanentError, SafeCode
from shared.keys.envelope import Purpose, TenantCipher
from shared.persistence.arrays import unnested
from shared.persistence.tables import snapshots
from shared.persistence.vault import Keys, NoKeys

MAX_SNAPSHOT_BYTES = 32 * 1024 * 1024  # of canonical JSON; far above any policy seen, far below a worker's memory
_LEVEL = 3


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A document as it is stored. `document()` is the only way back, and checks every byte."""

    sha256: str
    content: bytes = field(repr=False)  # one zstd frame that states its size
    raw_bytes: int
    seal: "_Seal | None" = field(default=None, repr=False, compare=False)  # of a stored one: `content` is sealed

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Snapshot":
        """Encode a document.

        Raises `PermanentError`: `POLICY_NOT_CANONICAL` for what JSON cannot carry exactly, `SNAPSHOT_TOO_LARGE`.
        """
        try:
            raw = rfc8785.dumps(dict(document))
        except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError):
            raise PermanentError(SafeCode.POLICY_NOT_CANONICAL) from None
        if len(raw) > MAX_SNAPSHOT_BYTES:
            raise PermanentError(SafeCode.SNAPSHOT_TOO_LARGE, size=len(raw), limit=MAX_SNAPSHOT_BYTES)
        compressed = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True).compress(raw)
        return cls(hashlib.sha256(raw).hexdigest(), compressed, len(raw))

    def document(self) -> dict[str, Any]:
        """Decode and verify; raise `PermanentError(SNAPSHOT_CORRUPT)` unless it is what was stored, bit by bit."""
        if self.seal is not None:
            return Snapshot(self.sha256, self.seal.opened(self.content), self.raw_bytes).document()
        raw = self._decompressed()
        if hashlib.sha256(raw).hexdigest() != self.sha256:
            raise _corrupt("hash")
        document = json.loads(raw)
        if not isinstance(document, dict):
            raise _corrupt("shape")
        return document

    def _decompressed(self) -> bytes:
        try:
            # The size that the frame states is what the decoder allocates: checked before, it defuses a bomb.
            stated = zstandard.frame_content_size(self.content)
            if stated != self.raw_bytes or not 0 < stated <= MAX_SNAPSHOT_BYTES:
                raise _corrupt("size")
            return zstandard.ZstdDecompressor().decompress(self.content, allow_extra_data=False)
        except zstandard.ZstdError:
            raise _corrupt("compression") from None


@dataclass(frozen=True, slots=True)
class _Seal:
    """What opens a stored snapshot."""

    cipher: TenantCipher
    address: str

    def opened(self, content: bytes) -> bytes:
        return self.cipher.open(Purpose.SNAPSHOT, (self.address,), content)


class SqlSnapshots:
    """Snapshots of one tenant, inside one transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID, keys: Keys | None = None) -> None:
        """Work inside `connection`'s transaction, with the tenant's keys."""
        self._connection = connection
        self._tenant_id = tenant_id
        self._keys = keys or NoKeys()

    async def put_many(self, batch: Iterable[Snapshot]) -> frozenset[str]:
        """Store what is not there yet, in one statement; return the hashes that are new."""
        distinct = {one.sha256: one for one in batch}
        if not distinct:
            return frozenset()
        sealer = await self._keys.sealer(len(distinct))
        addressed = {sealer.cipher.veil(sha256): one for sha256, one in distinct.items()}
        # Sorted, so that two runs that store the same content wait for one another and never in a circle.
        rows = sorted(addressed.items())
        given = unnested(
            "given",
            {
                "sha256": (Text(), [address for address, _ in rows]),
                "content": (LargeBinary(), [sealer.seal(Purpose.SNAPSHOT, (at,), one.content) for at, one in rows]),
                "raw_bytes": (Integer(), [one.raw_bytes for _, one in rows]),
            },
        )
        source = select(literal(self._tenant_id, Uuid()), *given.c).order_by(given.c.sha256)
        statement = (
            insert(snapshots)
            .from_select(["tenant_id", "sha256", "content", "raw_bytes"], source)
            .on_conflict_do_nothing(index_elements=["tenant_id", "sha256"])
            .returning(snapshots.c.sha256)
        )
        return frozenset(addressed[new].sha256 for new in await self._connection.scalars(statement))

    async def fetch_many(self, addresses: Sequence[str]) -> dict[str, Snapshot]:
        """Return the stored rows by address, in one query and unverified.

        Call `document()` once the transaction ended: it opens and checks. Raises as `Keys` does.
        """
        wanted = cast(bindparam("wanted", sorted(set(addresses))), ARRAY(Text))
        statement = select(snapshots.c.sha256, snapshots.c.content, snapshots.c.raw_bytes).where(
            snapshots.c.tenant_id == self._tenant_id, snapshots.c.sha256 == any_(wanted)
        )
        rows = (await self._connection.execute(statement)).all()
        if not rows:
            return {}
        cipher = await self._keys.cipher(*(row.content for row in rows))
        return {
            row.sha256: Snapshot(unveiled(cipher, row.sha256), row.content, row.raw_bytes, _Seal(cipher, row.sha256))
            for row in rows
        }

    async def hashes(self, addresses: Sequence[str]) -> dict[str, str]:
        """Return the hash behind each address."""
        if not addresses:
            return {}
        cipher = await self._keys.cipher()
        return {one: unveiled(cipher, one) for one in addresses}

    async def read_many(self, addresses: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the documents `{"policy_type", "payload", "assignments", "groups", "referred"}` by address.

        Raises `PermanentError`: `SNAPSHOT_CORRUPT` or `SNAPSHOT_MISSING` when any of them is.
        """
        found = await self.fetch_many(addresses)
        if missing := set(addresses) - found.keys():
            raise PermanentError(SafeCode.SNAPSHOT_MISSING, count=len(missing))
        return {address: snapshot.document() for address, snapshot in found.items()}


def unveiled(cipher: TenantCipher, address: str) -> str:
    """Return the hash behind an address; nothing for one that is none, which no content has."""
    try:
        return cipher.unveil(address)
    except PermanentError:
        return ""


def _corrupt(reason: str) -> PermanentError:
    return PermanentError(SafeCode.SNAPSHOT_CORRUPT, reason=reason)
