"""How much of somebody else's answer is read, counted after it is unpacked and before it fills the memory.

A chunk of 64 kB unpacks to 64 MB with gzip and to gigabytes with stronger codings: a limit that is looked at between
two chunks comes too late. Callers ask for `ACCEPTED` only.
"""

import zlib

import httpx

ACCEPTED = {"Accept-Encoding": "gzip"}
_GZIP = 16 + zlib.MAX_WBITS  # zlib's way to say: with gzip's header
_PLAIN, _PACKED = frozenset({"", "identity"}), frozenset({"gzip", "x-gzip"})


class BodyRefused(Exception):
    """The answer is larger than is read, or packed in a way that nobody asked for. `reason` is a stable word."""

    def __init__(self, reason: str) -> None:
        """Carry the reason: `too_large`, `encoding` or `truncated`."""
        super().__init__(reason)
        self.reason = reason


async def read_bounded(answer: httpx.Response, limit: int) -> bytes:
    """Return the body of a streamed answer, unpacked; raise `BodyRefused` for one beyond `limit` bytes.

    Holds no more than the limit and one chunk. Raises httpx's errors when the answer breaks off.
    """
    if answer.is_stream_consumed:  # made whole, by a transport that has no line
        if len(answer.content) > limit:
            raise BodyRefused("too_large")
        return answer.content
    coding = answer.headers.get("content-encoding", "").strip().lower()
    if coding in _PLAIN:
        return await _plain(answer, limit)
    if coding in _PACKED:
        return await _unpacked(answer, limit)
    raise BodyRefused("encoding")


async def _plain(answer: httpx.Response, limit: int) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > limit:
            raise BodyRefused("too_large")
    return bytes(body)


async def _unpacked(answer: httpx.Response, limit: int) -> bytes:
    body, unpacking, is_empty = bytearray(), zlib.decompressobj(_GZIP), True
    try:
        async for chunk in answer.aiter_raw():
            is_empty = False
            body += unpacking.decompress(chunk, limit + 1 - len(body))
            if len(body) > limit:
                raise BodyRefused("too_large")
    except zlib.error:
        raise BodyRefused("encoding") from None
    if not (unpacking.eof or is_empty):  # no body at all is what many answers to writes are
        raise BodyRefused("truncated")
    return bytes(body)
