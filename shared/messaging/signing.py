"""Ed25519: a publisher's private key that signs commands, and the check with the public one."""

import hashlib
import secrets
from datetime import datetime
from functools import lru_cache
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.contracts.catalogue import Command, type_of
from shared.contracts.signatures import (
    ALGORITHM,
    SIGNATURE_BYTES,
    TENANT,
    SignatureHeader,
    Signed,
    packed,
    spelled,
    unpacked,
)
from shared.domain.errors import PermanentError

KEY_BYTES = 32  # of a private key's seed as of a public key
_KNOWN_KEYS = 1024  # public keys that are kept decoded


class Signer:
    """One private key and its id. Neither `repr` nor an error shows the key."""

    def __init__(self, key_id: str, seed: bytes) -> None:
        """Take the 32 bytes of RFC 8032's private key; raise `ValueError` for any other number."""
        if len(seed) != KEY_BYTES:
            raise ValueError(f"a private key has {KEY_BYTES} bytes")
        self.key_id = key_id
        self._seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    def __repr__(self) -> str:
        return f"Signer({self.key_id})"

    @classmethod
    def generate(cls) -> Self:
        """Make a new key; its id is derived from its public half."""
        seed = secrets.token_bytes(KEY_BYTES)
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        return cls(key_id_of(public), seed)

    @classmethod
    def read(cls, text: str) -> Self:
        """Read `<key id>:<private key in base64url>`; raise `ValueError`, which never shows the text."""
        key_id, separator, seed = text.strip().partition(":")
        try:
            if separator and key_id:
                return cls(key_id, unpacked(seed))
        except (PermanentError, ValueError):
            pass
        raise ValueError("a signing key is its id, a colon, and 32 bytes in base64url")

    @property
    def text(self) -> str:
        """The key as `read` takes it: a secret."""
        return f"{self.key_id}:{packed(self._seed)}"

    @property
    def public_key(self) -> bytes:
        """The half that the registry holds."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, signed: Signed) -> bytes:
        """Sign; 64 bytes, the same each time."""
        return self._key.sign(signed.string_to_sign)

    def headers(self, command: Command, body: bytes, *, message_id: str, at: datetime) -> dict[str, str]:
        """Return the headers that prove who sends this body under this id."""
        signed = Signed(
            key_id=self.key_id,
            message_id=message_id,
            signed_at=spelled(at),
            type=type_of(command).value,
            tenant_id=str(command.tenant_id),
            body_sha256=hashlib.sha256(body).hexdigest(),
        )
        return {
            SignatureHeader.ALGORITHM.value: ALGORITHM,
            SignatureHeader.KEY_ID.value: signed.key_id,
            SignatureHeader.SIGNED_AT.value: signed.signed_at,
            SignatureHeader.SIGNATURE.value: packed(self.sign(signed)),
            TENANT: signed.tenant_id,
        }


def key_id_of(public_key: bytes) -> str:
    """Return the id that we give a key: the beginning of its fingerprint."""
    return "key-" + hashlib.sha256(public_key).hexdigest()[:24]


def is_public_key(raw: bytes) -> bool:
    """Tell whether these bytes can be a public key."""
    try:
        _decoded(raw)
    except ValueError:
        return False
    return True


def is_signed(signed: Signed, signature: bytes, public_key: bytes) -> bool:
    """Tell whether the owner of the key signed exactly this."""
    if len(signature) != SIGNATURE_BYTES:
        return False
    try:
        _decoded(public_key).verify(signature, signed.string_to_sign)
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=_KNOWN_KEYS)
def _decoded(public_key: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(public_key)
