"""Properties that no client can decode: an outsider may write any bytes where a time or a text belongs.

The broker passes them on as they are. Our client raises on them in its reader, which ends the connection and cancels
whatever is in work on it, as often as the broker delivers the message; whoever looks into the queue in which it ends up
is cut off, too. What cannot be decoded is left out instead, and the intake parks a message without id or type.
"""

from pamqp import decode
from pamqp.base import BasicProperties

_LENGTH_BYTE = 1
_decoded = BasicProperties.unmarshal


def _unmarshal(self: BasicProperties, flags: int, data: bytes) -> None:
    """Keep the properties in front of the first one that makes no sense."""
    try:
        _decoded(self, flags, data)
    except (ValueError, OverflowError, OSError, TypeError, KeyError, RecursionError):
        return


def _short_text(value: bytes) -> tuple[int, str]:
    """Decode a name, such as a routing key, whatever is in it."""
    end = _LENGTH_BYTE + value[0]
    return end, value[_LENGTH_BYTE:end].decode("utf-8", errors="replace")


def tolerate() -> None:
    """Have the client of this process decode what it can, and stay connected."""
    BasicProperties.unmarshal = _unmarshal  # type: ignore[method-assign]  # there is no other place for it
    decode.METHODS["shortstr"] = _short_text
