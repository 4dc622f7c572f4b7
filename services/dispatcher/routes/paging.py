"""Parameters that every list has."""

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Query

from services.dispatcher.cursors import MAX_CURSOR

MAX_PAGE = 200

T = TypeVar("T")

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="rows of a page, at most")]
Cursor = Annotated[
    str | None, Query(max_length=MAX_CURSOR, description="`next` of the page before; good for the same list only")
]


def cut(rows: Sequence[T], limit: int, cursor_of: Callable[[T], str]) -> tuple[Sequence[T], str | None]:
    """Return a page of at most `limit` and the cursor of the next, from rows of which one more was asked for."""
    page = rows[:limit]
    return page, cursor_of(page[-1]) if len(rows) > limit else None
