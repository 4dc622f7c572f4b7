"""Time as the simulator sees it; injectable, so that time stamps and windows are reproducible."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Wall time for stamps, monotonic seconds for windows."""

    def now(self) -> datetime:
        """Aware UTC time."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; comparable between processes of one machine."""
        ...


class SystemClock:
    """The machine's time."""

    def now(self) -> datetime:
        """Aware UTC time."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some point of this boot."""
        return time.monotonic()


class ManualClock:
    """Stands still until it is told to advance."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._monotonic = 0.0

    def now(self) -> datetime:
        """Aware UTC time."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since the start."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both times forward."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds


def graph_time(moment: datetime) -> str:
    """Write a time as Intune does: UTC with seven digits of a second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"
