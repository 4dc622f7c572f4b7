"""When to try an item again: a pure decision, apart from the act."""

from dataclasses import dataclass
from datetime import timedelta

from shared.domain.errors import PermanentError, ReinstateError, RunFatalError, ThrottledError, TransientError

MAX_EXPONENT = 30  # unclamped, a later attempt overflows timedelta
MAX_WAIT = timedelta(days=1)  # of what a tenant's system may ask for; more is a mistake, not advice


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Capped exponential backoff with full jitter; `Retry-After` wins.

    `base` and `cap` bound the wait; `max_attempts` counts all attempts, the first included.
    """

    base: timedelta = timedelta(seconds=1)
    cap: timedelta = timedelta(seconds=60)
    throttle_floor: timedelta = timedelta(seconds=5)
    max_attempts: int = 6

    def delay_after(self, error: ReinstateError, attempt: int, jitter: float) -> timedelta | None:
        """How long to wait before the attempt after `attempt` (1 is the first); None means there is none.

        `jitter` is a number in [0, 1). A throttled call does not use up attempts: its wait is what the tenant's
        system asked for, or a floor where it did not say.
        """
        match error:
            case ThrottledError(retry_after=float() | int() as seconds) if seconds >= 0:  # not NaN
                return timedelta(seconds=min(seconds, MAX_WAIT.total_seconds()))
            case ThrottledError():
                return max(self.throttle_floor, self._backoff(attempt, jitter))
            case PermanentError() | RunFatalError():
                return None
            case TransientError():
                return None if attempt >= self.max_attempts else self._backoff(attempt, jitter)
            case _:  # a defect: one more try in case it was the moment, then stop
                return None if attempt >= min(2, self.max_attempts) else self._backoff(attempt, jitter)

    def _backoff(self, attempt: int, jitter: float) -> timedelta:
        exponent = min(max(attempt, 1) - 1, MAX_EXPONENT)
        ceiling: timedelta = min(self.cap, self.base * 2**exponent)
        return ceiling * jitter
