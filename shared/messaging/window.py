"""Messages that leave in one write to the socket, each with a confirmation of its own.

The client's `basic_publish` takes a lock, a timer, a turn of its writer and a call of the operating system for each
message, which is most of what a publish costs. Here all messages of a window share them. What the client keeps to tell
confirmations and returns apart is kept as it keeps it (aiormq 7.2, `Channel.basic_publish`): its reader answers both
alike.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from aiormq.abc import ChannelFrame
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.frame import marshal
from pamqp.header import ContentHeader

if TYPE_CHECKING:
    import asyncio

    import aiormq

Confirmation: TypeAlias = "asyncio.Future[aiormq.abc.ConfirmationFrameType]"

MAX_WRITE = 256 * 1024  # bytes that are joined; a larger window leaves in several writes


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message, encoded for one channel. `message_id` tells the broker's returns apart."""

    message_id: str
    frames: bytes


def encoded(
    channel: "aiormq.Channel", exchange: str, routing_key: str, properties: commands.Basic.Properties, body: bytes
) -> Outgoing:
    """Encode a mandatory message as the channel has to send it. The properties name a message id.

    Raises `TypeError` or `ValueError` for a text that is too long for AMQP or a header that it cannot carry.
    """
    number, most = channel.number, channel.max_content_size
    frames = [_method(number, exchange, routing_key), marshal(ContentHeader(0, len(body), properties), number)]
    frames += (marshal(ContentBody(body[begin : begin + most]), number) for begin in range(0, len(body), most))
    return Outgoing(str(properties.message_id), b"".join(frames))


async def write(channel: "aiormq.Channel", window: Sequence[Outgoing]) -> list[Confirmation]:
    """Hand messages to the connection's writer; return the confirmation that each will get, in their order.

    A confirmation ends with what the broker said, or with the client's error: `PublishError` for a message that came
    back, `DeliveryError` for one that was refused, others when the channel goes. Raises the client's error when the
    channel is closed already.
    """
    confirmations: list[Confirmation] = []
    async with channel.lock:
        for part in _parts(window):
            confirmations += await _write(channel, part)
    return confirmations


async def _write(channel: "aiormq.Channel", part: Sequence[Outgoing]) -> list[Confirmation]:
    before = channel.delivery_tag
    confirmations = [_expect(channel, message) for message in part]
    frame = ChannelFrame(payload=b"".join(message.frames for message in part), should_close=False)
    try:
        await channel.write_queue.put(frame)
    except BaseException:
        # The broker will not see them: their numbers are the next ones' still.
        for tag in range(before + 1, channel.delivery_tag + 1):
            channel.confirmations.pop(tag, None)
        channel.delivery_tag = before
        for confirmation in confirmations:
            confirmation.cancel()
        raise
    return confirmations


def _expect(channel: "aiormq.Channel", message: Outgoing) -> Confirmation:
    """Take the channel's next delivery tag for a message, as the broker will count it."""
    channel.delivery_tag = tag = channel.delivery_tag + 1
    confirmation = channel.create_future()
    channel.confirmations[tag] = confirmation
    tags = channel.message_id_delivery_tag
    tags[message.message_id] = tag

    def forget(_: Confirmation) -> None:
        if tags.get(message.message_id) == tag:
            del tags[message.message_id]

    confirmation.add_done_callback(forget)
    return confirmation


def _parts(window: Iterable[Outgoing]) -> Iterator[list[Outgoing]]:
    part: list[Outgoing] = []
    size = 0
    for message in window:
        if part and size + len(message.frames) > MAX_WRITE:
            yield part
            part, size = [], 0
        part.append(message)
        size += len(message.frames)
    if part:
        yield part


@lru_cache(maxsize=1024)
def _method(channel_number: int, exchange: str, routing_key: str) -> bytes:
    publish = commands.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True)
    return bytes(marshal(publish, channel_number))
