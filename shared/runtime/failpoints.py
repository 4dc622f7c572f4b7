"""Named places where tests make a process die, to show that nothing is lost or done twice.

In production nothing is armed, and passing a failpoint costs one look at an empty dictionary. Tests arm them in the
process, or in a process of their own through `REINSTATE_FAILPOINTS=name:n` (the n-th passage ends it with SIGKILL).
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

VARIABLE = "REINSTATE_FAILPOINTS"

# Every step between two facts. A test crashes at each one; another holds the code to this list.
NAMES = frozenset(
    {
        "after_acquire",  # the lease is taken, the run is running, nothing is expanded
        "after_expand",  # the item rows exist, no item is worked
        "before_intent",  # a write is decided, nothing says so
        "after_intent",  # the intent is committed, nothing is sent
        "after_call",  # the target answered, the outcome is not stored
        "after_record",  # outcomes are stored, the slice goes on
        "before_finish",  # every outcome is decided, the run is not ended
        "after_finish",  # the run is ended, the wake-up is not acknowledged
        "after_release",  # the lease is free and the next wake-up stored, this one is not acknowledged
        "before_publish",  # rows are committed and claimed, the broker has none of them
        "after_publish",  # the broker confirmed, the outbox row is still there
        "before_ack",  # a message's effect is committed, the message is not acknowledged
    }
)

_armed: dict[str, Callable[[], None]] = {}


def reached(name: str) -> None:
    """Pass a failpoint: does nothing unless a test armed it."""
    if _armed and (trap := _armed.get(name)):
        trap()


@contextmanager
def armed(name: str, trap: Callable[[], None]) -> Iterator[None]:
    """Arm one failpoint for the block; raises `KeyError` for a name that does not exist."""
    if name not in NAMES:
        raise KeyError(name)
    _armed[name] = trap
    try:
        yield
    finally:
        del _armed[name]


def arm_from_environment() -> None:
    """Arm what the variable says; called where a service is wired. Raises `KeyError` or `ValueError` for nonsense."""
    for part in filter(None, os.environ.get(VARIABLE, "").split(",")):
        name, _, count = part.partition(":")
        if name not in NAMES:
            raise KeyError(name)
        _armed[name] = _killer(int(count or 1))


def _killer(count: int) -> Callable[[], None]:
    passages = 0

    def trap() -> None:
        nonlocal passages
        passages += 1
        if passages == count:
            os.kill(os.getpid(), signal.SIGKILL)

    return trap
