"""The real clock behind `shared.ports.Clock`."""

import time
from datetime import UTC, datetime


class SystemClock:
    """Wall time with a time zone, and seconds that never jump."""

    def now(self) -> datetime:
        """Wall clock in UTC. Not for leases: those live by the database's clock."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps; only differences mean something."""
        return time.monotonic()
