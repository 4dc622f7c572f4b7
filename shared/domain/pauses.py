"""The law of a pause: what it can be about. A pause stops no work that has begun; it starts none."""

from shared.domain.errors import PermanentError, SafeCode
from shared.domain.operations import OPERATIONS

EVERYTHING = "*"  # stands for every operation


def pausable(operation: str | None) -> str:
    """Return the word under which a pause of the operation is stored; None means everything.

    Raises `PermanentError(OPERATION_UNKNOWN)`.
    """
    if operation is None:
        return EVERYTHING
    if operation not in OPERATIONS:
        raise PermanentError(SafeCode.OPERATION_UNKNOWN, operation=operation)
    return operation
