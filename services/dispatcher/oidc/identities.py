"""Whom an issuer vouches for, and why a caller is refused. Knows nothing of keys and signatures, which load slowly."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

MAX_TOKEN = 16 * 1024  # characters; a longer one is nobody's


class Reason(StrEnum):
    """Why a token was refused. For metrics; never told to the caller."""

    MALFORMED = "malformed"  # no token of three parts, or none that can be read
    ALGORITHM = "algorithm"  # not on the list
    KEY = "key"  # the issuer has no such key
    SIGNATURE = "signature"
    CLAIMS = "claims"  # another issuer, for somebody else, or something is missing
    TIME = "time"  # over, not yet begun, or too old
    UNKNOWN = "unknown"  # good, but nobody of ours, or somebody disabled
    SERVICE = "service"  # a service token that is nobody's


class Refused(Exception):
    """The token is not good."""

    def __init__(self, reason: Reason) -> None:
        """Carry the word for our metrics, and nothing of the token."""
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom the issuer vouches for. `email` is None unless the issuer says that it verified it."""

    issuer: str
    subject: str
    email: str | None = None


class Verifier(Protocol):
    """Checks access tokens of an issuer."""

    async def verify(self, token: str) -> Identity:
        """Return whom a good token means; raise `Refused`, or `TransientError` when nobody can tell now."""
        ...
