"""Data keys and what is done with them: values are sealed (AES-256-GCM), hashes are veiled (AES-SIV). Pure.

A sealed value is `version (1) | generation (4) | nonce (12) | ciphertext | tag (16)`, in bytes. It is bound to its
place: tenant, purpose, row and data key are authenticated with it, so it opens nowhere else.
"""

import base64
import binascii
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.domain.errors import PermanentError, SafeCode

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_VERSION: Final = 1
_HEADER = struct.Struct(">BI")  # version, generation
OVERHEAD: Final = _HEADER.size + NONCE_BYTES + _TAG_BYTES  # bytes that sealing adds, whatever the value
# Random nonces of 96 bits: after 2^32 uses of a key two are equal with a probability of 2^-33 (NIST SP 800-38D, 8.3).
MOST_USES: Final = 2**32
VEIL_GENERATION: Final = 0  # the tenant's key for hashes: never replaced, or equal hashes would differ
_HASH_BYTES: Final = 32
_DOMAIN: Final = b"reinstate/1"


class Purpose(StrEnum):
    """What a sealed value is. Part of what it is bound to: never renamed."""

    SNAPSHOT = "snapshot"  # row: the veiled hash
    ARCHIVE = "archive"  # row: the archive's id and the chunk's number
    PLAN = "plan"  # row: the backup item's id, the part, and what the plan leads from and to
    CREDENTIAL = "credential"  # row: nothing but the tenant
    CHANNEL = "channel"  # an address that whoever knows it may write to, like a web hook's; row: the channel's id


def bound(tenant_id: UUID, purpose: str, key_id: str, *row: str) -> bytes:
    """Return what is authenticated with a value: every part with its length, so that no two places look alike."""
    parts = (_DOMAIN, tenant_id.bytes, purpose.encode(), key_id.encode(), *(one.encode() for one in row))
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


class DataKey:
    """One generation of a tenant's data key, open. Shows its generation and nothing else."""

    __slots__ = ("_gcm", "_secret", "generation", "id")

    def __init__(self, key_id: UUID, generation: int, secret: bytes) -> None:
        """Take the 32 bytes of the key; raise `ValueError` for another number."""
        if len(secret) != KEY_BYTES:
            raise ValueError("a data key has 32 bytes")
        self.id = key_id
        self.generation = generation
        self._secret = secret
        self._gcm = AESGCM(secret)

    def __repr__(self) -> str:
        return f"DataKey(generation={self.generation})"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a data key is not pickled")

    def encrypt(self, plain: bytes, associated: bytes) -> bytes:
        """Return the sealed value, under a nonce of its own. Counts as one use of the key."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return _HEADER.pack(_VERSION, self.generation) + nonce + self._gcm.encrypt(nonce, plain, associated)

    def decrypt(self, sealed: bytes, associated: bytes) -> bytes:
        """Return the value; raise `InvalidTag` unless it is what was sealed, where it was sealed."""
        body = sealed[_HEADER.size :]
        return self._gcm.decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], associated)

    def derived(self, use: bytes, size: int) -> bytes:
        """Return a key for something else, that tells nothing of this one."""
        return HKDF(SHA256(), length=size, salt=None, info=_DOMAIN + b"/" + use).derive(self._secret)


def generation_of(sealed: bytes) -> int:
    """Return the generation of the key that a value was sealed with; `PermanentError(SNAPSHOT_CORRUPT)` for debris."""
    if len(sealed) < OVERHEAD or sealed[0] != _VERSION:
        raise _altered()
    generation: int = _HEADER.unpack_from(sealed)[1]
    return generation


class TenantCipher:
    """The data keys of one tenant. `seal` is for `Sealer`, which counts uses."""

    __slots__ = ("_keys", "_siv", "_veil_aad", "tenant_id")

    def __init__(self, tenant_id: UUID, keys: Mapping[int, DataKey]) -> None:
        """Take the keys by generation; `ValueError` unless that for hashes is among them, and one that seals."""
        if VEIL_GENERATION not in keys or max(keys) == VEIL_GENERATION:
            raise ValueError("a tenant has a key for hashes and one that seals")
        self.tenant_id = tenant_id
        self._keys = dict(keys)
        self._siv = AESSIV(keys[VEIL_GENERATION].derived(b"veil", 2 * KEY_BYTES))
        self._veil_aad = [bound(tenant_id, "hash", str(keys[VEIL_GENERATION].id))]

    def __repr__(self) -> str:
        return f"TenantCipher(generations={sorted(self._keys)})"

    @property
    def newest(self) -> DataKey:
        """The key that new values are sealed with."""
        return self._keys[max(self._keys)]

    def knows(self, generation: int) -> bool:
        """Tell whether values of this generation can be opened."""
        return generation in self._keys

    def by_id(self, key_id: UUID) -> DataKey | None:
        """Return the key with this id."""
        return next((key for key in self._keys.values() if key.id == key_id), None)

    def seal(self, key: DataKey, purpose: Purpose, row: tuple[str, ...], plain: bytes) -> bytes:
        """Seal a value into its place."""
        return key.encrypt(plain, bound(self.tenant_id, purpose, str(key.id), *row))

    def open(self, purpose: Purpose, row: tuple[str, ...], sealed: bytes) -> bytes:
        """Return the value; `PermanentError(SNAPSHOT_CORRUPT)` unless it was sealed for this very place."""
        key = self._keys.get(generation_of(sealed))
        if key is None or key.generation == VEIL_GENERATION:
            raise _altered()
        try:
            return key.decrypt(sealed, bound(self.tenant_id, purpose, str(key.id), *row))
        except InvalidTag:
            raise _altered() from None

    def veil(self, digest: str) -> str:
        """Return what stands in a row for a SHA-256 (hex): the same for the same, and nothing to who lacks the key."""
        return base64.urlsafe_b64encode(self._siv.encrypt(bytes.fromhex(digest), self._veil_aad)).decode()

    def unveil(self, veiled: str) -> str:
        """Return the SHA-256 (hex) that was veiled; `PermanentError(SNAPSHOT_CORRUPT)` for anything else."""
        try:
            return self._siv.decrypt(base64.urlsafe_b64decode(veiled), self._veil_aad).hex()
        except (InvalidTag, ValueError, binascii.Error):
            raise _altered() from None


@dataclass(slots=True)
class Sealer:
    """Seals as many values as were asked for, with one key."""

    cipher: TenantCipher
    key: DataKey
    uses: int

    def seal(self, purpose: Purpose, row: tuple[str, ...], plain: bytes) -> bytes:
        """Seal a value into its place; raise `RuntimeError` when more are sealed than were asked for."""
        if self.uses <= 0:
            raise RuntimeError("more values are sealed than were counted")
        self.uses -= 1
        return self.cipher.seal(self.key, purpose, row, plain)


def _altered() -> PermanentError:
    return PermanentError(SafeCode.SNAPSHOT_CORRUPT, reason="encryption")
