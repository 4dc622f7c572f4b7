from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dispatcher import cursors
from shared.domain.errors import PermanentError

READERS = [cursors.newest_first, cursors.by_id, cursors.by_ordinal, cursors.by_key]


@given(st.datetimes(timezones=st.just(UTC)), st.uuids(), st.integers(0, cursors.MAX_ORDINAL))
def test_a_cursor_comes_back_as_it_was_given(moment: datetime, row_id: UUID, ordinal: int) -> None:
    assert cursors.newest_first(cursors.encode("runs", moment, row_id), "runs") == (moment, row_id)
    assert cursors.by_id(cursors.encode("sets", row_id), "sets") == row_id
    assert cursors.by_ordinal(cursors.encode("items", ordinal), "items") == ordinal
    assert cursors.by_key(cursors.encode("id-map", "group", str(row_id)), "id-map") == ("group", str(row_id))


def test_a_cursor_is_good_for_the_list_that_gave_it_only() -> None:
    with pytest.raises(PermanentError, match=r"request\.cursor_invalid"):
        cursors.by_id(cursors.encode("backup-sets", uuid4()), "policies")


@pytest.mark.parametrize("read", READERS)
@given(st.text(max_size=400))
def test_whatever_else_is_given_as_a_cursor_is_refused_and_breaks_nothing(read: object, text: str) -> None:
    assert callable(read)
    with pytest.raises(PermanentError, match=r"request\.cursor_invalid"):
        read(text, "runs")
