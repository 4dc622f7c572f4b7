"""What our AMQP client does with bytes that are no text."""

from pamqp import decode

from shared.messaging.connection import client_name


def test_a_name_that_is_no_text_is_read_all_the_same() -> None:
    """A routing key, say: it stands in front of the properties, where nothing can be left out."""
    assert client_name("restore").startswith("restore@")  # whoever connects has imported it

    assert decode.by_type(b"\x03a\xff.", "shortstr") == (4, "a\ufffd.")
