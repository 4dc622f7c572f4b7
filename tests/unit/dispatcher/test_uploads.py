import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest
from starlette.requests import ClientDisconnect

from services.dispatcher.uploads import Uploads, discard
from shared.domain.errors import SafeCode, TransientError


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece


async def silent() -> AsyncIterator[bytes]:
    yield b"begun"
    await asyncio.Event().wait()


async def gone() -> AsyncIterator[bytes]:
    yield b"begun"
    raise ClientDisconnect


async def test_a_file_arrives_as_it_was_sent() -> None:
    parts = [b"a" * 700_000, b"", b"b" * 700_000, b"c"]
    async with Uploads(at_once=1, stalled_limit=5).receive(pieces(*parts)) as upload:
        upload.file.seek(0)
        content = upload.file.read()

    assert content == b"".join(parts)
    assert (upload.size, upload.sha256) == (len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("stream", [silent, gone])
async def test_a_caller_that_falls_silent_is_dropped(stream: object) -> None:
    uploads = Uploads(at_once=1, stalled_limit=0.05)
    with pytest.raises(TransientError) as caught:
        async with uploads.receive(stream()):  # type: ignore[operator]  # a function of no arguments
            raise AssertionError("nothing arrived whole")

    assert caught.value.code is SafeCode.SERVICE_UNAVAILABLE


async def test_a_place_is_free_again_whatever_happened_in_it() -> None:
    uploads = Uploads(at_once=1, stalled_limit=5)

    async def twice() -> None:
        async with uploads.place(), uploads.place():
            raise AssertionError("there was one place")

    for _ in range(3):
        with pytest.raises(TransientError) as caught:
            await twice()
        assert caught.value.code is SafeCode.SERVICE_OVERLOADED


async def test_the_rest_of_a_refused_body_is_read_without_a_word() -> None:
    for stream in (pieces(b"x", b"y"), gone()):
        await discard(stream)
        assert await anext(stream, None) is None, "something was left unread"
