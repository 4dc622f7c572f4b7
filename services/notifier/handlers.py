"""From an event to stored notifications."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import TypeAlias
from uuid import UUID

from services.notifier.ports import NotifierUnitOfWork
from shared.contracts.events import EventKind, RunEvent
from shared.domain.errors import SafeCode
from shared.domain.notifications import Notice, Notification, notice_of
from shared.domain.runs import Counts
from shared.runtime.batching import Batcher

News: TypeAlias = tuple[Notification, ...]  # of one event: the same thing for each recipient, never empty
Stored: TypeAlias = BaseException | None  # what went wrong with one event's tenant


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


async def store(batch: Sequence[News], *, uow: NotifierUnitOfWork) -> Sequence[Stored]:
    """Store a batch, one transaction per tenant: the trouble of one tenant is not the trouble of another."""
    by_tenant: dict[UUID, list[Notification]] = defaultdict(list)
    for news in batch:
        by_tenant[news[0].tenant_id].extend(news)

    async def store_one(tenant_id: UUID, notifications: Sequence[Notification]) -> None:
        async with uow.begin(tenant_id) as tx:
            await tx.notifications.store(notifications)

    outcomes = await asyncio.gather(*(store_one(*group) for group in by_tenant.items()), return_exceptions=True)
    failures = dict(zip(by_tenant, outcomes, strict=True))
    return [failures[news[0].tenant_id] for news in batch]


def _catalogued(code: str | None) -> str | None:
    """Let through only codes that we know: what people read is never a foreign system's text."""
    if code is None:
        return None
    return code if code in set(SafeCode) else SafeCode.INTERNAL_UNEXPECTED.value
