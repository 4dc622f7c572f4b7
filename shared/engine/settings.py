"""How the engine cuts and paces its work."""

from dataclasses import dataclass, field
from datetime import timedelta

from shared.domain.retry import RetryPolicy
from shared.ports import SlotLimits


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Order of times: one call < slice < drain < the platform's grace period; one call < lease."""

    owner: str  # unique per process start
    lease_ttl: timedelta = timedelta(seconds=30)
    # Whoever cannot reach the database would keep wake-ups that others could work.
    acquire_limit: timedelta = timedelta(seconds=10)
    call_limit: timedelta = timedelta(seconds=18)  # of one call to a tenant's system
    slice_items: int = 20_000
    page_items: int = 500  # read at a time, twice as many after each page that was quick
    page_items_at_most: int = 4_000
    page_is_quick: timedelta = timedelta(seconds=1)
    slice_time: timedelta = timedelta(seconds=20)
    concurrency: int = 4  # items of one run at a time
    flush_items: int = 1_000
    few_items: int = 20  # a run of no more shares its transactions with others
    flush_time: timedelta = timedelta(milliseconds=200)  # outcomes wait at most this long for their commit
    progress_every: timedelta = timedelta(seconds=1)
    max_pickups: int = 20  # of a run whose items could not even be listed; those that were throttled do not count
    max_abandoned: int = 20  # workers in a row that a run may lose without getting on: it may be what kills them
    throttled_at_most: timedelta = timedelta(hours=48)  # then a run ends whose slice came to nothing for it
    limits: SlotLimits = field(default_factory=SlotLimits)
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    @property
    def renew_every(self) -> timedelta:
        """Three renewals fit into a lease."""
        return self.lease_ttl / 3
