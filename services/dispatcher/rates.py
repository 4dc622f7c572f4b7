"""How often a caller, an upstream system and a tenant may ask this process (ADR 0031)."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from shared.domain.errors import SafeCode, TooManyError
from shared.domain.rates import Buckets, Rate

HTTP, COMMANDS = "http", "dispatcher.commands"


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Requests or commands a second; 0 is no limit. Who was quiet may use `burst` seconds' worth at once."""

    caller: float = 1_000
    upstream: float = 5_000
    tenant: float = 2_000
    burst: float = 2.0

    def of(self, per_second: float) -> Rate:
        """Return the rate with its burst."""
        return Rate(per_second, max(1, round(per_second * self.burst)))


class Rates:
    """Counts in this process alone. What is refused has used nothing up."""

    def __init__(
        self,
        limits: RateLimits | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        refused: Callable[[str, SafeCode], None] = lambda _door, _code: None,
    ) -> None:
        """`refused` counts refusals by door and code; `clock` is monotonic."""
        limits = limits or RateLimits()
        self._callers = Buckets(limits.of(limits.caller), clock)
        self._upstreams = Buckets(limits.of(limits.upstream), clock)
        self._tenants = Buckets(limits.of(limits.tenant), clock)
        self._refused = refused

    def caller(self, user_id: UUID) -> None:
        """Let a request of somebody who signed in through; raise `TooManyError(RATE_EXCEEDED)`."""
        self._settle(self._callers.take(user_id), HTTP, "caller")

    def tenant(self, tenant_id: UUID) -> None:
        """Let a request of a member of the tenant through; raise as above."""
        self._settle(self._tenants.take(tenant_id), HTTP, "tenant")

    def command(self, upstream: str, tenant_id: UUID) -> None:
        """Let a command of a broker's user through; raise as above. It takes from both buckets or from none."""
        self._settle(self._upstreams.wait(upstream), COMMANDS, "upstream")
        self._settle(self._tenants.take(tenant_id), COMMANDS, "tenant")
        self._upstreams.take(upstream)

    def _settle(self, wait: float, door: str, who: str) -> None:
        if wait > 0:
            self._refused(door, SafeCode.RATE_EXCEEDED)
            raise TooManyError(SafeCode.RATE_EXCEEDED, retry_after=wait, reason=who)
