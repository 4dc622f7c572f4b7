"""Plan entries as rows keep them: what would change is sealed, fingerprints are veiled, the rest is for queries.

What is sealed is bound to its backup item and to what it leads from and to: moved to another plan, it does not open.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import zstandard

from shared.domain.errors import PermanentError, SafeCode
from shared.keys.envelope import Purpose, Sealer, TenantCipher
from shared.persistence.vault import Keys

SEALED, SEALED_PROGRESS = "sealed", "sealed_progress"
# They repeat values of the policy. What people read stays sealed for workers; what a worker left half done does not.
_SECRET_FIELDS = {SEALED: ("patch", "assignments_patch", "changes"), SEALED_PROGRESS: ("assigned_before",)}
_ALL_SECRET = frozenset(name for names in _SECRET_FIELDS.values() for name in names)
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
    count = sum(len(_secrets(plan)) for _, plan in plans if plan)
    sealer = await keys.sealer(count) if count else None
    return [None if plan is None else _protected(cipher, sealer, item_id, plan) for item_id, plan in plans]


async def unveil(keys: Keys, plans: Sequence[tuple[UUID, Plan | None]]) -> list[dict[str, Any] | None]:
    """Return plans with their fingerprints and what was left half done, for whoever carries them out.

    The rest stays sealed. Raises as `reveal` does.
    """
    return await _opened(keys, plans, (SEALED_PROGRESS,))


async def reveal(keys: Keys, plans: Sequence[tuple[UUID, Plan | None]]) -> list[dict[str, Any] | None]:
    """Return plans with everything that is sealed in them, for people.

    Raises as `Keys` does, and `PermanentError(SNAPSHOT_CORRUPT)` for what was altered or moved.
    """
    return await _opened(keys, plans, tuple(_SECRET_FIELDS))


async def _opened(
    keys: Keys, plans: Sequence[tuple[UUID, Plan | None]], parts: Sequence[str]
) -> list[dict[str, Any] | None]:
    sealed = [_decoded(plan[part]) for _, plan in plans if plan for part in parts if part in plan]
    if not sealed and not any(plan and any(plan.get(name) for name in FINGERPRINTS) for _, plan in plans):
        return [None if plan is None else dict(plan) for _, plan in plans]
    cipher = await keys.cipher(*sealed)
    return [None if plan is None else _revealed(cipher, item_id, plan, parts) for item_id, plan in plans]


def _protected(cipher: TenantCipher, sealer: Sealer | None, item_id: UUID, plan: Plan) -> dict[str, Any]:
    kept = {name: [] if name in _ALL_SECRET else value for name, value in plan.items()}
    if sealer is not None:
        for part, secret in _secrets(plan).items():
            packed = zstandard.ZstdCompressor(level=_LEVEL).compress(json.dumps(secret, default=list).encode())
            kept[part] = base64.b64encode(sealer.seal(Purpose.PLAN, _row(item_id, part, plan), packed)).decode()
    return {**kept, **_fingerprints(plan, cipher.veil)}


def _revealed(cipher: TenantCipher, item_id: UUID, plan: Plan, parts: Sequence[str]) -> dict[str, Any]:
    shown = {**plan, **_fingerprints(plan, cipher.unveil)}
    for part in parts:
        if part in shown:
            packed = cipher.open(Purpose.PLAN, _row(item_id, part, shown), _decoded(shown.pop(part)))
            shown |= _unpacked(packed)
    return shown


def _unpacked(packed: bytes) -> dict[str, Any]:
    if not 0 < zstandard.frame_content_size(packed) <= MOST_BYTES:
        raise PermanentError(SafeCode.SNAPSHOT_CORRUPT, reason="size")
    secret: dict[str, Any] = json.loads(zstandard.ZstdDecompressor().decompress(packed))
    return secret


def _secrets(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return what is to be sealed of a plan, by part."""
    found = {part: {name: plan[name] for name in names if plan.get(name)} for part, names in _SECRET_FIELDS.items()}
    return {part: secret for part, secret in found.items() if secret}


def _fingerprints(plan: Plan, change: Any) -> dict[str, str]:  # noqa: ANN401  a cipher's method
    return {name: change(plan[name]) for name in FINGERPRINTS if plan.get(name)}


def _row(item_id: UUID, part: str, plan: Plan) -> tuple[str, ...]:
    return (str(item_id), part, *(str(plan.get(name) or "") for name in FINGERPRINTS))


def _decoded(sealed: Any) -> bytes:  # noqa: ANN401  whatever the row holds
    try:
        return base64.b64decode(sealed, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise PermanentError(SafeCode.SNAPSHOT_CORRUPT, reason="encryption") from None
