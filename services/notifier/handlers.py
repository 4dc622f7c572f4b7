"""From an event to stored notifications."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from services.notifier.ports import NotificationStore
from shared.contracts.events import EventKind, RunEvent
from shared.domain.errors import SafeCode, TransientError
from shared.domain.notifications import Notice, Notification, notice_of
from shared.domain.runs import Counts
from shared.runtime.batching import Batcher

if TYPE_CHECKING:
    from uuid import UUID

News: TypeAlias = tuple[Notification, ...]  # of one event: the same thing for each recipient, never empty
Stored: TypeAlias = Exception | None  # what went wrong with one event

_CODES = frozenset(code.value for code in SafeCode)


async def notify(event: RunEvent, *, batcher: Batcher[News, Stored]) -> None:
    """Store what the event's recipients are to be told; return when it is committed, raise when it is not."""
    news = news_of(event)
    if not news:
        return
    failure = await batcher.submit(news)
    if failure is not None:
        raise failure


def news_of(event: RunEvent) -> News:
    """Apply the policy: one notification for each recipient, or none for anybody."""
    if notice_of(event.status, status_changed=event.kind is EventKind.STATUS) is Notice.NONE:
        return ()
    counts = event.counts
    return tuple(
        Notification(
            tenant_id=event.tenant_id,
            user_id=recipient,
            run_type=event.run_type,
            run_id=event.run_id,
            operation=event.operation,
            status=event.status,
            sequence=event.sequence,
            counts=Counts(counts.total, counts.succeeded, counts.failed, counts.skipped),
            occurred_at=event.occurred_at,
            safe_error_code=_catalogued(event.safe_error_code),
            safe_error_context=event.safe_error_context,
        )
        for recipient in dict.fromkeys(event.recipients)
    )


async def store(batch: Sequence[News], *, told: NotificationStore) -> Sequence[Stored]:
    """Store a batch of several tenants in one transaction; return for each event what went wrong with it.

    Where that fails, each tenant has a transaction of its own: the trouble of one is not the trouble of another. And
    where a tenant's fails for good, each of its events has.
    """
    by_tenant: dict[UUID, list[int]] = defaultdict(list)
    for position, news in enumerate(batch):
        by_tenant[news[0].tenant_id].append(position)
    failure = await _stored(batch, told)
    if failure is None or len(by_tenant) == 1:
        return await _apart(batch, failure, told)

    async def store_one(positions: Sequence[int]) -> Sequence[Stored]:
        part = [batch[position] for position in positions]
        return await _apart(part, await _stored(part, told), told)

    results = await asyncio.gather(*(store_one(positions) for positions in by_tenant.values()))
    failures: dict[int, Stored] = {}
    for positions, found in zip(by_tenant.values(), results, strict=True):
        failures.update(zip(positions, found, strict=True))
    return [failures[position] for position in range(len(batch))]


async def _apart(batch: Sequence[News], failure: Stored, told: NotificationStore) -> Sequence[Stored]:
    """Say of each event of one tenant's batch what went wrong; one that failed for good is stored event by event."""
    if failure is None or isinstance(failure, TransientError) or len(batch) == 1:
        return [failure] * len(batch)
    return await asyncio.gather(*(_stored([news], told) for news in batch))


async def _stored(batch: Sequence[News], told: NotificationStore) -> Stored:
    try:
        await told.store([one for news in batch for one in news])
    except Exception as error:  # noqa: BLE001  raised where the event is, which knows what becomes of it
        return error
    return None


def _catalogued(code: str | None) -> str | None:
    """Let through only codes that we know: what people read is never a foreign system's text."""
    if code is None:
        return None
    return code if code in _CODES else SafeCode.INTERNAL_UNEXPECTED.value
