"""What `reinstate audit` does: verifies trails in the database or from a file, exports them, anchors their heads."""

import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from uuid import UUID

from cli.console import usage
from cli.settings import database_url
from shared.audit_signing import BadKey, Signer, Verifier
from shared.domain.audit_anchors import Anchor, anchors_of, unsigned
from shared.domain.audit_chain import Chain, Finding, Head, Wrong
from shared.domain.audit_export import (
    Check,
    NoExport,
    Verdict,
    anchor_line,
    end_line,
    expect,
    header,
    row_line,
    trail_line,
    verify_export,
)
from shared.persistence.audit_trail import SqlAuditTrail
from shared.persistence.database import create_engine

STDIN = Path("-")
_MOST_ANCHORS = 1_000  # of one tenant that are held in memory; see `Chain.expect`
_AT_ONCE = 200  # anchors of one statement


@asynccontextmanager
async def trail() -> AsyncIterator[SqlAuditTrail]:
    """Open the database of DATABASE_URL, for somebody who may read every tenant's rows."""
    try:
        engine = create_engine(database_url(), service="cli", pool_size=1)
    except ValueError as error:
        raise usage(str(error), code="cli.setting_invalid") from None
    try:
        yield SqlAuditTrail(engine)
    finally:
        await engine.dispose()


def check_of(public_key: str | None) -> Check | None:
    """Return what tells genuine signatures of this key; None without a key."""
    if public_key is None:
        return None
    try:
        return Verifier.of(public_key).is_genuine
    except BadKey as error:
        raise usage(f"--public-key: {error}") from None


def kept_anchors(file: Path | None, is_genuine: Check | None) -> dict[UUID, list[Anchor]]:
    """Read the anchors that were kept elsewhere, by tenant. With a key those that it did not sign are left out."""
    found: dict[UUID, list[Anchor]] = defaultdict(list)
    if file is None:
        return found
    with opened(file) as lines:
        for anchor in anchors_of(lines):
            if is_genuine is not None and not is_genuine(anchor):
                continue
            of_tenant = found[anchor.head.tenant_id]
            of_tenant.append(anchor)
            if len(of_tenant) > 2 * _MOST_ANCHORS:
                found[anchor.head.tenant_id] = _thinned(of_tenant)
    return found


def _thinned(anchors: Iterable[Anchor]) -> list[Anchor]:
    """Leave out every other one, but neither the furthest nor one that contradicts it."""
    by_number = sorted(anchors, key=lambda one: one.head.sequence)
    last = by_number[-1].head.sequence
    furthest = [one for one in by_number if one.head.sequence == last]
    return [*by_number[: len(by_number) - len(furthest) : 2], *furthest]


async def verify_database(
    trails: SqlAuditTrail,
    *,
    kept: dict[UUID, list[Anchor]],
    is_genuine: Check | None = None,
    only: UUID | None = None,
) -> Verdict:
    """Verify every tenant's trail, or one's, while it may grow; memory does not grow with the rows."""
    verdict = Verdict()
    known = await trails.tenants()
    wanted = [only] if only else sorted({*known, *kept}, key=lambda one: one.int)
    for tenant_id in wanted:
        chain, head = Chain(tenant_id), await trails.head(tenant_id)
        expect(chain, [*await trails.anchors(tenant_id), *kept.get(tenant_id, ())], is_genuine)
        async for row in trails.rows(tenant_id, up_to=head.sequence if head else None):
            chain.add(row)
            if chain.finding is not None:
                break
        if chain.finding is None and head is not None:
            behind = await trails.behind_the_head(tenant_id)
            if behind is not None:
                chain.finding = Finding(tenant_id, behind, Wrong.NOT_APPENDED, chain.last_anchored)
        verdict.count(chain, head)
    return verdict


def verify_file(file: Path, *, kept: dict[UUID, list[Anchor]], is_genuine: Check | None = None) -> Verdict:
    """Verify an export without a database. Raises `NoExport`."""
    with opened(file) as lines:
        try:
            return verify_export(lines, anchors=kept, is_genuine=is_genuine)
        except UnicodeDecodeError:
            raise NoExport(0, "not readable") from None


async def export(trails: SqlAuditTrail, write: Callable[[str], object], *, only: UUID | None = None) -> tuple[int, int]:
    """Write every tenant's trail, or one's, as it is now; return the numbers of tenants and rows."""
    write(header(_now().isoformat()))
    wanted = [only] if only else await trails.tenants()
    rows = 0
    for tenant_id in wanted:
        head = await trails.head(tenant_id)
        write(trail_line(tenant_id, head))
        for anchor in await trails.anchors(tenant_id):
            if head is None or anchor.head.sequence <= head.sequence:  # a later one was made meanwhile
                write(anchor_line(anchor))
        async for row in trails.rows(tenant_id, up_to=head.sequence if head else None):
            write(row_line(row))
            rows += 1
    write(end_line(len(wanted), rows))
    return len(wanted), rows


async def anchor_now(trails: SqlAuditTrail, key: str | None) -> Sequence[Anchor]:
    """Anchor every head that went on since its last anchor; return the anchors."""
    make = _maker(key)
    due = await trails.to_be_anchored()
    made: list[Anchor] = []
    for start in range(0, len(due), _AT_ONCE):
        now = _now()
        made += await trails.keep([make(head, now) for head in due[start : start + _AT_ONCE]])
    return made


def _maker(key: str | None) -> Callable[[Head, datetime], Anchor]:
    if key is None:
        return unsigned
    try:
        return Signer.of(key).anchor
    except BadKey as error:
        raise usage(f"AUDIT_SIGNING_KEY: {error}", code="cli.setting_invalid") from None


@contextmanager
def opened(file: Path) -> Iterator[IO[str]]:
    """Open a file for reading, or standard input for `-`; raise `CliFailure` when it cannot be read."""
    if file == STDIN:
        yield sys.stdin
        return
    try:
        lines = file.open(encoding="utf-8")
    except OSError as error:
        raise usage(f"cannot read {file}: {error.strerror}") from None
    with lines:
        yield lines


def _now() -> datetime:
    return datetime.now(UTC)
