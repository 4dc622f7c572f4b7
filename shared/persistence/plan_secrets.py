"""Plan entries as rows keep them: what would change is sealed, fingerprints are veiled, the rest is for queries.

What is sealed is bound to its backup item and to what it leads from and to: moved to another plan, it does not open.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import zstandard

from shared.domain.errors import PermanentError, SafeCode
from shared.keys.envelope import Purpose, Sealer, TenantCipher
from shared.persistence.vault import Keys

SEALED = "sealed"
SECRET_FIELDS = ("patch", "assignments_patch", "changes")  # they repeat values of the policy
FINGERPRINTS = (
    "live_fingerprint",
    "live_assignments_fingerprint",
    "backup_fingerprint",
    "backup_assignments_fingerprint",
)
MOST_BYTES = 16 * 1024 * 1024  # of what was sealed, as JSON; two patches of 256 KiB and their words are far below
_LEVEL = 3

Plan = Mapping[str, Any]


async def protect(keys: Keys, plans: Sequence[tuple[UUID, Plan | None]]) -> list[dict[str, Any] | None]:
    """Return plans, given with their backup items, as rows keep them; one that is sealed already stays so."""
    if not any(plan for _, plan in plans):
        return [None if plan is None else dict(plan) for _, plan in plans]
    cipher = await keys.cipher()
    count = sum(1 for _, plan in plans if plan and _has_secrets(plan))
    sealer = await keys.sealer(count) if count else None
    return [None if plan is None else _protected(cipher, sealer, item_id, plan) for item_id, plan in plans]


async def unveil(keys: Keys, plans: Iterable[Plan | None]) -> list[dict[str, Any] | None]:
    """Return plans with their fingerprints, for whoever compares them; what is sealed stays so."""
    given = list(plans)
    if not any(plan and any(plan.get(name) for name in FINGERPRINTS) for plan in given):
        return [None if plan is None else dict(plan) for plan in given]
    cipher = await keys.cipher()
    return [None if plan is None else {**plan, **_fingerprints(plan, cipher.unveil)} for plan in given]


async def reveal(keys: Keys, plans: Sequence[tuple[UUID, Plan | None]]) -> list[dict[str, Any] | None]:
    """Return plans with everything that is sealed in them, for people.

    Raises as `Keys` does, and `PermanentError(SNAPSHOT_CORRUPT)` for what was altered or moved.
    """
    sealed = [_decoded(plan[SEALED]) for _, plan in plans if plan and SEALED in plan]
    if not sealed:
        return [None if plan is None else dict(plan) for _, plan in plans]
    cipher = await keys.cipher(*sealed)
    return [None if plan is None else _revealed(cipher, item_id, plan) for item_id, plan in plans]


def _protected(cipher: TenantCipher, sealer: Sealer | None, item_id: UUID, plan: Plan) -> dict[str, Any]:
    kept = {name: [] if name in SECRET_FIELDS else value for name, value in plan.items()}
    if sealer is not None and _has_secrets(plan):
        secret = {name: plan[name] for name in SECRET_FIELDS if plan.get(name)}
        packed = zstandard.ZstdCompressor(level=_LEVEL).compress(json.dumps(secret, default=list).encode())
        sealed = sealer.seal(Purpose.PLAN, _row(item_id, plan), packed)
        kept[SEALED] = base64.b64encode(sealed).decode()
    return {**kept, **_fingerprints(plan, cipher.veil)}


def _revealed(cipher: TenantCipher, item_id: UUID, plan: Plan) -> dict[str, Any]:
    shown = {**plan, **_fingerprints(plan, cipher.unveil)}
    sealed = shown.pop(SEALED, None)
    if sealed is None:
        return shown
    packed = cipher.open(Purpose.PLAN, _row(item_id, shown), _decoded(sealed))
    if not 0 < zstandard.frame_content_size(packed) <= MOST_BYTES:
        raise PermanentError(SafeCode.SNAPSHOT_CORRUPT, reason="size")
    return {**shown, **json.loads(zstandard.ZstdDecompressor().decompress(packed))}


def _has_secrets(plan: Plan) -> bool:
    return any(plan.get(name) for name in SECRET_FIELDS)


def _fingerprints(plan: Plan, change: Any) -> dict[str, str]:  # noqa: ANN401  a cipher's method
    return {name: change(plan[name]) for name in FINGERPRINTS if plan.get(name)}


def _row(item_id: UUID, plan: Plan) -> tuple[str, ...]:
    return (str(item_id), *(str(plan.get(name) or "") for name in FINGERPRINTS))


def _decoded(sealed: Any) -> bytes:  # noqa: ANN401  whatever the row holds
    try:
        return base64.b64decode(sealed, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise PermanentError(SafeCode.SNAPSHOT_CORRUPT, reason="encryption") from None
