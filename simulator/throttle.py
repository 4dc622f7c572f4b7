"""Graph's published request budgets as sliding windows. A throttled request counts too, as in the real service."""

import random
from collections import defaultdict, deque
from dataclasses import dataclass

from simulator.clock import Clock
from simulator.problems import GraphError
from simulator.resource import Budget


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` requests in `seconds`. `per_app` splits the window by app; `writes` counts only writes."""

    name: str
    count: int
    seconds: float
    per_app: bool = False
    writes: bool = False


LIMITS: dict[Budget, tuple[Limit, ...]] = {
    Budget.INTUNE: (
        Limit("app writes", 100, 20, per_app=True, writes=True),
        Limit("app requests", 1000, 20, per_app=True),
        Limit("tenant writes", 200, 20, writes=True),
        Limit("tenant requests", 2000, 20),
    ),
    Budget.CONDITIONAL_ACCESS: (Limit("conditional access", 1, 1),),
    Budget.DIRECTORY: (Limit("directory", 3500, 10, per_app=True),),
}


class Throttle:
    """Counts requests of every tenant. `scale` multiplies the limits; 0 turns them off."""

    def __init__(self, clock: Clock, seed: int, scale: float = 0.0) -> None:
        self.scale = scale
        self._clock = clock
        self._random = random.Random(seed)  # noqa: S311  reproducible, not secret
        self._windows: defaultdict[tuple[str, str, str], deque[float]] = defaultdict(deque)

    def admit(self, tenant: str, app: str, budget: Budget, *, writes: bool) -> None:
        """Count one request; 429 when a limit is reached."""
        if not self.scale:
            return
        now = self._clock.monotonic()
        wait: float | None = None
        for limit in LIMITS[budget]:
            if writes or not limit.writes:
                window = self._windows[tenant, app if limit.per_app else "", limit.name]
                while window and window[0] <= now - limit.seconds:
                    window.popleft()
                window.append(now)
                allowed = max(1, round(limit.count * self.scale))
                if len(window) > allowed:
                    wait = max(wait or 0.0, window[-allowed] + limit.seconds - now)
        if wait is not None:
            raise too_many_requests(self._header(budget, wait))

    def _header(self, budget: Budget, wait: float) -> str | None:
        """Whole seconds, a fraction or nothing, as the real service varies."""
        if budget is Budget.CONDITIONAL_ACCESS:
            return None
        return self._random.choice([str(max(1, round(wait + 0.5))), f"{wait + 0.001:.3f}", None])


def too_many_requests(retry_after: str | None) -> GraphError:
    """429, with or without Retry-After."""
    headers = {"Retry-After": retry_after} if retry_after is not None else {}
    return GraphError(429, "TooManyRequests", "Too many requests; wait before the next one.", headers)
