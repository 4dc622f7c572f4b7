"""What the notifier's use cases need from outside."""

from collections.abc import Sequence
from typing import Protocol

from shared.domain.notifications import Notification


class NotificationStore(Protocol):
    """What people are told, of all tenants."""

    async def store(self, batch: Sequence[Notification]) -> int:
        """Store what is newer than what is there, in one transaction; return how many are new or changed.

        What it raises, it raises for the whole batch, of which nothing is stored then:
        `TransientError(SERVICE_UNAVAILABLE)` when the database does not answer. Recipients that are not users, and
        tenants that do not exist, are left out.
        """
        ...
