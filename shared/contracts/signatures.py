"""What the signature of a command covers, and how it travels: `docs/reference/signed-commands.md` is this in words.

Reading is strict: each part has one spelling, so that whatever is changed on the way is another command.
"""

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from shared.domain.errors import PermanentError, SafeCode

ALGORITHM = "ed25519"
FIRST_LINE = "reinstate-command-v1"
SIGNATURE_BYTES = 64
TENANT = "tenantid"  # a header that commands carry, signed or not
MAX_MESSAGE_ID = 255  # bytes; what AMQP can carry

_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", re.ASCII)
_TENANT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_SIGNATURE = re.compile(r"[A-Za-z0-9_-]{86}", re.ASCII)


class SignatureHeader(StrEnum):
    """Headers of a signed command. All of them, or none."""

    ALGORITHM = "reinstate-algorithm"
    KEY_ID = "reinstate-key-id"
    SIGNED_AT = "reinstate-signed-at"
    SIGNATURE = "reinstate-signature"


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signature covers: texts exactly as they travel. `body_sha256` is of the raw bytes, in lowercase hex."""

    key_id: str
    message_id: str
    signed_at: str
    type: str
    tenant_id: str
    body_sha256: str

    @property
    def string_to_sign(self) -> bytes:
        """The bytes that are signed: seven lines, UTF-8, a line feed between two and none at the end."""
        parts = (self.key_id, self.message_id, self.signed_at, self.type, self.tenant_id, self.body_sha256)
        return "\n".join((FIRST_LINE, *parts)).encode()

    @property
    def moment(self) -> datetime:
        """When it was signed, by the signer's clock; raises `ValueError` for a day that does not exist."""
        return datetime.fromisoformat(self.signed_at)

    @property
    def tenant(self) -> UUID:
        """The tenant that the signer means."""
        return UUID(self.tenant_id)


@dataclass(frozen=True, slots=True)
class Claim:
    """A signature as it came, not checked yet."""

    signed: Signed
    signature: bytes


def claim_of(headers: Mapping[str, str], *, message_id: str, kind: str, body_sha256: str) -> Claim | None:
    """Read a command's signature; None where there is none at all.

    Raises `PermanentError(SIGNATURE_INVALID)` that names the header at fault where it is not whole or not well-formed.
    """
    if not any(name in headers for name in SignatureHeader):
        return None
    if headers.get(SignatureHeader.ALGORITHM) != ALGORITHM:
        raise _malformed(SignatureHeader.ALGORITHM)
    if not message_id.isprintable() or not 0 < len(message_id.encode(errors="replace")) <= MAX_MESSAGE_ID:
        raise _malformed("message_id")
    signed = Signed(
        key_id=_part(headers, SignatureHeader.KEY_ID, _KEY_ID),
        message_id=message_id,
        signed_at=_part(headers, SignatureHeader.SIGNED_AT, _TIME),
        type=kind,
        tenant_id=_part(headers, TENANT, _TENANT),
        body_sha256=body_sha256,
    )
    try:
        _ = signed.moment
    except ValueError:
        raise _malformed(SignatureHeader.SIGNED_AT) from None
    return Claim(signed, unpacked(_part(headers, SignatureHeader.SIGNATURE, _SIGNATURE)))


def packed(raw: bytes) -> str:
    """Spell bytes in base64url without padding."""
    return urlsafe_b64encode(raw).decode().rstrip("=")


def unpacked(text: str) -> bytes:
    """Read base64url without padding; raise `PermanentError(SIGNATURE_INVALID)` for every other spelling of it."""
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise _malformed(SignatureHeader.SIGNATURE) from None
    if packed(raw) != text:  # the last character has bits to spare
        raise _malformed(SignatureHeader.SIGNATURE)
    return raw


def spelled(moment: datetime) -> str:
    """Spell a time as a signature does: UTC, microseconds, `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _part(headers: Mapping[str, str], name: str, pattern: re.Pattern[str]) -> str:
    value = headers.get(name, "")
    if pattern.fullmatch(value) is None:
        raise _malformed(name)
    return value


def _malformed(name: str) -> PermanentError:
    return PermanentError(SafeCode.SIGNATURE_INVALID, field=str(name))
