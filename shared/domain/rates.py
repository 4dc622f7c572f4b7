"""How often something may happen: a bucket of tokens for each key, kept as one number."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

MOST_KEYS = 20_000


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_second` on average; who was quiet may take `burst` at once. A rate of 0 is no limit."""

    per_second: float
    burst: int


class Buckets:
    """A bucket for each key. Over any time `t`, one key takes at most `burst + per_second * t`.

    Not for several threads. Of each key it knows when its bucket will be full again (the generic cell rate algorithm);
    a full bucket is forgotten. When more keys than `most` are busy, the older half begins anew.
    """

    def __init__(self, rate: Rate, clock: Callable[[], float], *, most: int = MOST_KEYS) -> None:
        """`clock` never goes back; in seconds."""
        self._rate = rate
        self._clock = clock
        self._most = most
        self._full_at: dict[Hashable, float] = {}

    def wait(self, key: Hashable) -> float:
        """Return the seconds until the key may take one; 0 when it may now. Takes nothing."""
        if not self._rate.per_second:
            return 0.0
        now = self._clock()
        beyond = self._full_at.get(key, now) - now - (self._rate.burst - 1) / self._rate.per_second
        return max(beyond, 0.0)

    def take(self, key: Hashable) -> float:
        """Take one if the key may; return the wait as `wait` does, with 0 for what was taken."""
        wait = self.wait(key)
        if wait <= 0 and self._rate.per_second:
            self._make_room(key)
            now = self._clock()
            self._full_at[key] = max(self._full_at.get(key, now), now) + 1 / self._rate.per_second
        return wait

    def _make_room(self, key: Hashable) -> None:
        if len(self._full_at) < self._most or key in self._full_at:
            return
        now = self._clock()
        busy = [(one, at) for one, at in self._full_at.items() if at > now]
        self._full_at = dict(busy if len(busy) < self._most else busy[len(busy) // 2 :])
