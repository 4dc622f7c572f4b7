"""Task groups raise groups of errors; whoever decides about a message wants the one that matters."""

from collections.abc import Iterator
from contextlib import contextmanager

from shared.domain.errors import LeaseLost


@contextmanager
def first_error() -> Iterator[None]:
    """Raise one error instead of a group: `LeaseLost` if it is among them, else the first."""
    try:
        yield
    except BaseExceptionGroup as group:
        leaves = _leaves(group)
        raise next((leaf for leaf in leaves if isinstance(leaf, LeaseLost)), leaves[0]) from None


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found
