"""Writes the heads of the audit trails down where the database's administrator does not write: into the log.

An anchor is one log line, `audit.anchored`, and a row of `audit_anchors` that keeps the next one from repeating it. Any
number of replicas may anchor: each head is logged by the one that stored it.
"""

import asyncio
import os
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from pydantic import SecretStr

from shared.domain.audit_anchors import ANCHORED, Anchor, unsigned
from shared.domain.audit_export import anchor_line
from shared.domain.errors import TransientError
from shared.persistence.audit_trail import SqlAuditTrail

if TYPE_CHECKING:
    from shared.audit_signing import Signer

log = structlog.get_logger(__name__)

JITTER = 0.4  # share of the interval: replicas that started together drift apart
_AT_ONCE = 200  # anchors of one statement


class Anchoring:
    """Anchors the heads that went on, about every interval, and when the process stops."""

    def __init__(
        self,
        trail: SqlAuditTrail,
        signer: "Signer | None" = None,
        *,
        file: Path | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Append anchors to `file`, too, if there is one. Without a signer they are as good as where they are kept."""
        self._trail = trail
        self._signer = signer
        self._file = file
        self._clock = clock

    async def run(self, stop: asyncio.Event, *, every: timedelta) -> None:
        """Anchor until `stop`, and then once more; an outage is waited out."""
        while not stop.is_set():
            pause = every.total_seconds() * (1 - JITTER / 2 + JITTER * random.random())  # noqa: S311  spreading
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
            try:
                await self.anchor()
            except TransientError as error:
                log.warning("anchoring.waiting", code=error.code)
            except Exception as error:  # noqa: BLE001  one defect must not end what others rely on
                log.error("anchoring.failed", kind=type(error).__name__)  # noqa: TRY400  no traces in logs

    async def anchor(self) -> int:
        """Anchor every head that went on since its last anchor; return how many."""
        count = 0
        due = await self._trail.to_be_anchored()
        for start in range(0, len(due), _AT_ONCE):
            now, heads = self._clock(), due[start : start + _AT_ONCE]
            made = [self._signer.anchor(head, now) if self._signer else unsigned(head, now) for head in heads]
            kept = await self._trail.keep(made)
            if self._file is not None:
                await asyncio.to_thread(_append, self._file, kept)
            for anchor in kept:
                log.info(ANCHORED, **anchor.document())
            count += len(kept)
        return count


def _append(file: Path, anchors: Sequence[Anchor]) -> None:
    with file.open("a", encoding="utf-8") as opened:
        opened.writelines(anchor_line(anchor) for anchor in anchors)
        opened.flush()
        os.fsync(opened.fileno())


def signer_of(key: SecretStr | None) -> "Signer | None":
    """Return who signs with this key."""
    if key is None:
        return None
    from shared.audit_signing import Signer  # noqa: PLC0415  loaded only where a key is set

    return Signer.of(key.get_secret_value())


def signing_key(value: SecretStr) -> SecretStr:
    """Let a private key through; the error does not show it."""
    signer_of(value)
    return value
