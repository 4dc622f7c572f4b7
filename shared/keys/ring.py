"""Key-encryption keys: what wraps the data keys, where they come from, and the hook for a key management service.

`KEY_ENCRYPTION_KEYS` is a list `ID=REFERENCE,…`: `file:PATH` and `env:NAME` hold 32 bytes as base64 or hex,
`kms:MODULE:NAME` names a callable that returns a `KeyWrapper`. The first one wraps; the others still unwrap.
"""

import base64
import binascii
import os
import re
import secrets
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import AfterValidator

from shared.domain.errors import SafeCode, TransientError
from shared.keys.envelope import KEY_BYTES, NONCE_BYTES

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LIMIT = 4096  # characters of a key's file
_SHAPE = "must be ID=REFERENCE, with file:PATH, env:NAME or kms:MODULE:NAME as the reference; several with commas"


class KeyUnavailable(TransientError):
    """A data key cannot be unwrapped or wrapped now: its key-encryption key is not among those that are set."""

    def __init__(self, reason: str) -> None:
        """Say in a word why; never with which key."""
        super().__init__(SafeCode.KEY_UNAVAILABLE, reason=reason)


class KeyWrapper(Protocol):
    """One key-encryption key, wherever it lives. A service of its own (KMS, HSM) implements this and is named `kms:`.

    `context` is bound to the wrapped key (a KMS calls it encryption context or associated data): unwrapping with
    another one must fail. Both methods raise `KeyUnavailable` and nothing else, and never show what they work on.
    """

    async def wrap(self, secret: bytes, context: bytes) -> bytes:
        """Return the wrapped form of 32 bytes."""
        ...

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Return the 32 bytes."""
        ...


class LocalWrapper:
    """A key-encryption key in the process's memory: AES-256-GCM."""

    __slots__ = ("_gcm",)

    def __init__(self, secret: bytes) -> None:
        """Take 32 bytes."""
        self._gcm = AESGCM(secret)

    def __repr__(self) -> str:
        return "LocalWrapper()"

    async def wrap(self, secret: bytes, context: bytes) -> bytes:
        """Return nonce, ciphertext and tag."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._gcm.encrypt(nonce, secret, context)

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Return the secret; raise `KeyUnavailable` when this is not the key, or the wrapped form was altered."""
        try:
            return self._gcm.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], context)
        except (InvalidTag, ValueError):
            raise KeyUnavailable("does_not_open") from None


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Every key-encryption key that is set, by id; `active` wraps what is new."""

    active: str
    wrappers: Mapping[str, KeyWrapper]

    async def wrap(self, secret: bytes, context: bytes) -> bytes:
        """Wrap with the active key."""
        return await _told(self.wrappers[self.active].wrap(secret, context))

    async def unwrap(self, kek_id: str, wrapped: bytes, context: bytes) -> bytes:
        """Unwrap with the key of this id; raise `KeyUnavailable` when it is not set."""
        if kek_id not in self.wrappers:
            raise KeyUnavailable("not_set")
        return await _told(self.wrappers[kek_id].unwrap(wrapped, context))


async def _told(work: Awaitable[bytes]) -> bytes:
    try:
        return await work
    except KeyUnavailable:
        raise
    except Exception:  # noqa: BLE001  a service's own errors may hold what it was given
        raise KeyUnavailable("service_failed") from None


def references(text: str) -> Sequence[tuple[str, str]]:
    """Return ids and references in order; raise `ValueError` that says what is wrong, without repeating it."""
    found: list[tuple[str, str]] = []
    for part in filter(None, (one.strip() for one in text.split(","))):
        key_id, separator, reference = part.partition("=")
        kind, _, name = reference.partition(":")
        if not separator or not _ID.fullmatch(key_id) or kind not in ("file", "env", "kms") or not name:
            raise ValueError(_SHAPE)
        found.append((key_id, reference))
    if not found:
        raise ValueError(_SHAPE)
    if len({key_id for key_id, _ in found}) < len(found):
        raise ValueError("names an id twice")
    return found


def key_ring(text: str) -> KeyRing:
    """Open every key that is named; raise `ValueError` with the id of the one that cannot be read."""
    named = references(text)
    return KeyRing(named[0][0], {key_id: _wrapper(key_id, reference) for key_id, reference in named})


def _checked(text: str) -> str:
    key_ring(text)  # a service that cannot read its keys does not start
    return text


opens = AfterValidator(_checked)


def _wrapper(key_id: str, reference: str) -> KeyWrapper:
    kind, _, name = reference.partition(":")
    if kind == "kms":
        return _service(key_id, name)
    text = os.environ.get(name, "") if kind == "env" else _content(key_id, Path(name))
    return LocalWrapper(_decoded(key_id, text.strip()))


def _content(key_id: str, path: Path) -> str:
    try:
        with path.open(encoding="ascii") as file:
            return file.read(_LIMIT)
    except (OSError, ValueError):
        raise ValueError(f"the key {key_id} cannot be read") from None


def _decoded(key_id: str, text: str) -> bytes:
    try:
        secret = bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        secret = b""
    if len(secret) != KEY_BYTES or len(set(secret)) == 1:
        raise ValueError(f"the key {key_id} must be 32 random bytes as base64 or hex: openssl rand -base64 32")
    return secret


def _service(key_id: str, name: str) -> KeyWrapper:
    module, _, attribute = name.partition(":")
    try:
        made: KeyWrapper = getattr(import_module(module), attribute)()
    except Exception:  # noqa: BLE001  somebody else's code: whatever it says may hold what it must not
        raise ValueError(f"the key {key_id} cannot be opened: its service does not load") from None
    return made
