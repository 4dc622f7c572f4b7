"""What the notifier's use cases need from outside."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol
from uuid import UUID

from shared.domain.notifications import Notification


class NotificationRepository(Protocol):
    """Notifications of one tenant."""

    async def store(self, batch: Sequence[Notification]) -> int:
        """Store what is newer than what is there; return how many are new or changed.

        Recipients that are not users are left out. Raises `ValueError` for a notification of another tenant.
        """
        ...


class NotifierTransaction(Protocol):
    """One short transaction of one tenant."""

    @property
    def notifications(self) -> NotificationRepository:
        """What people are told."""
        ...


class NotifierUnitOfWork(Protocol):
    """Opens transactions. Raises `TransientError(SERVICE_UNAVAILABLE)` when the database does not answer."""

    def begin(self, tenant_id: UUID) -> AbstractAsyncContextManager[NotifierTransaction]:
        """Begin a transaction for one tenant."""
        ...
