"""Anchors: what a chain's head was at some time, kept where the database's administrator does not write.

An anchor is a line of JSON, in a file or in the services' log. A signed one can be kept anywhere
(`shared.audit_signing`).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any
from uuid import UUID

from shared.domain.audit_chain import Head, netstrings

ANCHORED = "audit.anchored"  # the event of the log line, and the kind of the line in a file
_DOMAIN = "reinstate-audit-anchor-v1"
_MAX_LINE = 65_536  # characters; a longer one is no anchor


@dataclass(frozen=True, slots=True)
class Anchor:
    """A head that was written down elsewhere. `signature` is base64 of 64 bytes, of an Ed25519 key."""

    head: Head
    anchored_at: str  # UTC, ISO 8601
    signature: str | None = None

    @property
    def signed_bytes(self) -> bytes:
        """What the signature covers."""
        head = self.head
        return netstrings(_DOMAIN, str(head.tenant_id), str(head.sequence), head.hash, self.anchored_at)

    def document(self) -> dict[str, Any]:
        """Return it as it is written."""
        head = self.head
        return {
            "tenant_id": str(head.tenant_id),
            "sequence": head.sequence,
            "hash": head.hash,
            "anchored_at": self.anchored_at,
            "signed": self.signature,
        }


def unsigned(head: Head, at: datetime) -> Anchor:
    """Return an anchor that is as good as the place where it is kept."""
    return Anchor(head, at.isoformat().replace("+00:00", "Z"))


def anchors_of(file: IO[str]) -> Iterator[Anchor]:
    """Yield every anchor in a file of JSON lines: one that was written for it, an export, or a log; skip the rest."""
    for line in file:
        if len(line) > _MAX_LINE:
            continue
        begin = line.find("{")  # a log collector may have put something before
        try:
            read = json.loads(line[begin:]) if begin >= 0 else None
        except (ValueError, RecursionError):
            continue
        if isinstance(read, dict) and ANCHORED in (read.get("kind"), read.get("event"), read.get("action")):
            anchor = anchor_of(read)
            if anchor is not None:
                yield anchor


def anchor_of(read: dict[str, Any]) -> Anchor | None:
    """Read one from its document; None when it is none."""
    try:
        head = Head(UUID(str(read["tenant_id"])), int(read["sequence"]), str(read["hash"]))
        signature = read.get("signed")
        return Anchor(head, str(read["anchored_at"]), None if signature is None else str(signature))
    except (KeyError, TypeError, ValueError):
        return None
