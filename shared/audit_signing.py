"""Signs anchors of the audit trail with Ed25519, and checks signatures. Keys are their 32 bytes in base64."""

import base64
import binascii
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.domain.audit_anchors import Anchor, unsigned
from shared.domain.audit_chain import Head

_KEY_BYTES = 32


class BadKey(ValueError):
    """No Ed25519 key: 32 bytes in base64. Says nothing of what it was."""


class Signer:
    """Signs anchors with one key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        """Take the private key."""
        self._key = key

    @classmethod
    def of(cls, text: str) -> "Signer":
        """Read a private key in base64; raise `BadKey`."""
        return cls(Ed25519PrivateKey.from_private_bytes(_key_bytes(text)))

    @classmethod
    def new(cls) -> tuple[str, "Signer"]:
        """Make a key; return it in base64, and a signer."""
        key = Ed25519PrivateKey.generate()
        return base64.b64encode(key.private_bytes_raw()).decode(), cls(key)

    @property
    def public_key(self) -> str:
        """What `Verifier.of` takes."""
        return base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    def anchor(self, head: Head, at: datetime) -> Anchor:
        """Return a signed anchor of the head."""
        bare = unsigned(head, at)
        return Anchor(head, bare.anchored_at, base64.b64encode(self._key.sign(bare.signed_bytes)).decode())


class Verifier:
    """Checks signatures of anchors by one public key."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        """Take the public key."""
        self._key = key

    @classmethod
    def of(cls, text: str) -> "Verifier":
        """Read a public key in base64; raise `BadKey`."""
        return cls(Ed25519PublicKey.from_public_bytes(_key_bytes(text)))

    def is_genuine(self, anchor: Anchor) -> bool:
        """Tell whether the key signed exactly this anchor."""
        try:
            self._key.verify(base64.b64decode(anchor.signature or "", validate=True), anchor.signed_bytes)
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True


def _key_bytes(text: str) -> bytes:
    try:
        decoded = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise BadKey("a key is 32 bytes in base64") from None
    if len(decoded) != _KEY_BYTES:
        raise BadKey("a key is 32 bytes in base64")
    return decoded
