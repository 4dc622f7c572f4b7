"""Our encoding of properties is the client's, byte for byte."""

from datetime import UTC, datetime

import pytest
from aiormq import spec
from hypothesis import given
from hypothesis import strategies as st

from shared.messaging.properties import Properties

SHORT = st.text(max_size=60)
VALUES = st.one_of(st.text(), st.integers(-(2**62), 2**62), st.booleans(), st.none(), st.dictionaries(SHORT, SHORT))
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "content_type": SHORT,
        "headers": st.one_of(
            st.dictionaries(st.text(max_size=200), st.text()), st.dictionaries(SHORT, VALUES), st.none()
        ),
        "delivery_mode": st.sampled_from([1, 2]),
        "correlation_id": SHORT,
        "message_id": SHORT,
        "timestamp": st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
        "message_type": SHORT,
        "user_id": SHORT,
        "app_id": SHORT,
    },
)


@given(PROPERTIES)
def test_what_is_sent_is_what_the_client_would_have_sent(given_properties: dict[str, object]) -> None:
    assert Properties(**given_properties).marshal() == spec.Basic.Properties(**given_properties).marshal()


def test_a_text_that_is_too_long_is_refused_as_by_the_client() -> None:
    for kind in (Properties, spec.Basic.Properties):
        with pytest.raises(TypeError, match="exceeds"):
            kind(message_id="x" * 256).marshal()
