"""Content-addressed snapshots: one row per distinct content of a tenant, verified whenever it is read.

The key is the SHA-256 of the canonical JSON (RFC 8785) before compression, so that capturing an unchanged policy costs
no second copy, and no row can be changed without being noticed.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import rfc8785
import zstandard
from sqlalchemy import Integer, LargeBinary, Text, Uuid, any_, bindparam, cast, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.errors import PermanentError, SafeCode
from shared.persistence.arrays import unnested
from shared.persistence.tables import snapshots

MAX_SNAPSHOT_BYTES = 32 * 1024 * 1024  # of canonical JSON; far above any policy seen, far below a worker's memory
_LEVEL = 3


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A document as it is stored. `document()` is the only way back, and checks every byte."""

    sha256: str
    content: bytes  # one zstd frame that states its size
    raw_bytes: int

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


class SqlSnapshots:
    """Snapshots of one tenant, inside one transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID) -> None:
        """Work inside `connection`'s transaction."""
        self._connection = connection
        self._tenant_id = tenant_id

    async def put_many(self, batch: Iterable[Snapshot]) -> frozenset[str]:
        """Store what is not there yet, in one statement; return the hashes that are new."""
        # Sorted, so that two runs that store the same content wait for one another and never in a circle.
        rows = [one for _, one in sorted({one.sha256: one for one in batch}.items())]
        if not rows:
            return frozenset()
        given = unnested(
            "given",
            {
                "sha256": (Text(), [row.sha256 for row in rows]),
                "content": (LargeBinary(), [row.content for row in rows]),
                "raw_bytes": (Integer(), [row.raw_bytes for row in rows]),
            },
        )
        source = select(literal(self._tenant_id, Uuid()), *given.c).order_by(given.c.sha256)
        statement = (
            insert(snapshots)
            .from_select(["tenant_id", "sha256", "content", "raw_bytes"], source)
            .on_conflict_do_nothing(index_elements=["tenant_id", "sha256"])
            .returning(snapshots.c.sha256)
        )
        return frozenset((await self._connection.scalars(statement)).all())

    async def fetch_many(self, hashes: Sequence[str]) -> dict[str, Snapshot]:
        """Return the stored rows by hash, in one query and unverified: call `document()` once the transaction ended."""
        wanted = cast(bindparam("wanted", sorted(set(hashes))), ARRAY(Text))
        statement = select(snapshots.c.sha256, snapshots.c.content, snapshots.c.raw_bytes).where(
            snapshots.c.tenant_id == self._tenant_id, snapshots.c.sha256 == any_(wanted)
        )
        return {row.sha256: Snapshot(*row) for row in await self._connection.execute(statement)}

    async def read_many(self, hashes: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the documents `{"policy_type", "payload", "assignments", "groups", "referred"}` by hash.

        Raises `PermanentError`: `SNAPSHOT_CORRUPT` or `SNAPSHOT_MISSING` when any of them is.
        """
        found = await self.fetch_many(hashes)
        if missing := set(hashes) - found.keys():
            raise PermanentError(SafeCode.SNAPSHOT_MISSING, count=len(missing))
        return {sha256: snapshot.document() for sha256, snapshot in found.items()}


def _corrupt(reason: str) -> PermanentError:
    return PermanentError(SafeCode.SNAPSHOT_CORRUPT, reason=reason)
