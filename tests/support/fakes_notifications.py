"""Notifications in memory; the contract suite proves that they behave like the real ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from shared.domain.errors import safe_context
from shared.domain.notifications import (
    InboxCounts,
    InboxEntry,
    InboxPage,
    InboxPosition,
    Notification,
    NotificationKey,
    newest,
)
from shared.runtime.ids import new_id


@dataclass
class NotificationWorld:
    """What the real ones find in the database."""

    tenants: dict[UUID, str] = field(default_factory=dict)  # names
    users: set[UUID] = field(default_factory=set)
    members: set[tuple[UUID, UUID]] = field(default_factory=set)  # (tenant, user)
    rows: dict[NotificationKey, tuple[UUID, InboxEntry]] = field(default_factory=dict)  # (user, entry)


class FakeNotificationStore:
    """`NotificationStore`; a batch with news of one of the `broken` tenants or runs is not stored."""

    def __init__(self, world: NotificationWorld, broken: dict[UUID, Exception] | None = None) -> None:
        self._world = world
        self._broken = broken or {}
        self.batches: list[Sequence[Notification]] = []  # as they came, stored or not

    async def store(self, batch: Sequence[Notification]) -> int:
        self.batches.append(batch)
        for one in batch:
            if error := self._broken.get(one.tenant_id) or self._broken.get(one.run_id):
                raise error
        return sum(self._store(one) for one in newest(batch))

    def _store(self, one: Notification) -> int:
        world = self._world
        if one.user_id not in world.users or one.tenant_id not in world.tenants:
            return 0
        known = world.rows.get(one.key)
        if known is not None and known[1].sequence >= one.sequence:
            return 0
        news: dict[str, Any] = {
            "operation": one.operation,
            "sequence": one.sequence,
            "counts": one.counts,
            "created_at": one.occurred_at,
            "safe_error_code": one.safe_error_code,
            "safe_error_context": safe_context(one.safe_error_context) if one.safe_error_context else None,
        }
        if known is not None:
            world.rows[one.key] = (one.user_id, replace(known[1], **news))
            return 1
        entry = InboxEntry(
            id=new_id(),
            tenant_id=one.tenant_id,
            tenant_name=world.tenants[one.tenant_id],
            run_type=one.run_type,
            run_id=one.run_id,
            status=one.status,
            interrupts=one.interrupts,
            seen_at=None if one.interrupts else one.occurred_at,
            **news,
        )
        world.rows[one.key] = (one.user_id, entry)
        return 1


class FakeInboxReader:
    """Like `SqlInboxReader`."""

    def __init__(self, world: NotificationWorld) -> None:
        self._world = world

    async def page(
        self,
        user_id: UUID,
        *,
        cursor: InboxPosition | None = None,
        limit: int = 50,
        unread_only: bool = False,
        archived: bool = False,
    ) -> InboxPage:
        limit = max(1, min(limit, 200))
        entries = [one for _, one in self._own(user_id) if (one.archived_at is not None) == archived]
        if unread_only:
            entries = [one for one in entries if one.interrupts and one.read_at is None]
        if cursor is not None:
            entries = [one for one in entries if (one.created_at, one.id) < (cursor.created_at, cursor.id)]
        entries.sort(key=lambda one: (one.created_at, one.id), reverse=True)
        shown = entries[:limit]
        last = shown[-1] if len(entries) > limit else None
        return InboxPage(shown, InboxPosition(last.created_at, last.id) if last else None)

    async def counts(self, user_id: UUID) -> InboxCounts:
        own = [one for _, one in self._own(user_id) if one.archived_at is None]
        return InboxCounts(
            unread=sum(one.interrupts and one.read_at is None for one in own),
            unseen=sum(one.interrupts and one.seen_at is None for one in own),
            total=len(own),
        )

    async def mark_seen(self, user_id: UUID, ids: Sequence[UUID] | None = None) -> int:
        return self._mark(user_id, lambda one: one.seen_at is None and (ids is None or one.id in ids), "seen_at")

    async def mark_read(self, user_id: UUID, notification_id: UUID) -> InboxEntry | None:
        self._mark(user_id, lambda one: one.id == notification_id, "seen_at", "read_at")
        return self._one(user_id, notification_id)

    async def archive(self, user_id: UUID, notification_id: UUID) -> InboxEntry | None:
        self._mark(user_id, lambda one: one.id == notification_id, "seen_at", "read_at", "archived_at")
        return self._one(user_id, notification_id)

    async def mark_all_read(self, user_id: UUID) -> int:
        def wanted(one: InboxEntry) -> bool:
            return one.interrupts and one.read_at is None and one.archived_at is None

        return self._mark(user_id, wanted, "seen_at", "read_at")

    def _own(self, user_id: UUID) -> list[tuple[NotificationKey, InboxEntry]]:
        world = self._world
        return [
            (key, entry)
            for key, (owner, entry) in world.rows.items()
            if owner == user_id and (entry.tenant_id, user_id) in world.members
        ]

    def _one(self, user_id: UUID, notification_id: UUID) -> InboxEntry | None:
        return next((entry for _, entry in self._own(user_id) if entry.id == notification_id), None)

    def _mark(self, user_id: UUID, wanted: Callable[[InboxEntry], bool], *names: str) -> int:
        chosen = [(key, entry) for key, entry in self._own(user_id) if wanted(entry)]
        for key, entry in chosen:
            moments: dict[str, Any] = {name: getattr(entry, name) or datetime.now(UTC) for name in names}
            self._world.rows[key] = (user_id, replace(entry, **moments))
        return len(chosen)
