"""What another system answers is read up to the limit, packed or not, and no chunk of it unpacks to more."""

import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.net.bodies import BodyRefused, read_bounded

MIB = 1024 * 1024
LIMIT = 1000


class Chunks(httpx.AsyncByteStream):
    """A body as it comes over a line."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


def an_answer(body: bytes, coding: str | None = None, size: int = 100) -> httpx.Response:
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    return httpx.Response(200, headers={"content-encoding": coding} if coding else {}, stream=Chunks(chunks))


async def told(answer: httpx.Response, limit: int = LIMIT) -> bytes | str:
    try:
        return await read_bounded(answer, limit)
    except BodyRefused as refused:
        return refused.reason


@given(st.binary(max_size=2 * LIMIT), st.sampled_from([None, "identity", "gzip", "X-GZip"]), st.integers(1, 300))
async def test_a_body_within_the_limit_is_read_as_it_is_and_any_other_refused(
    body: bytes, coding: str | None, size: int
) -> None:
    sent = gzip.compress(body) if coding and "zip" in coding.lower() else body

    assert await told(an_answer(sent, coding, size)) == (body if len(body) <= LIMIT else "too_large")


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate", "br", "zstd", "gzip, gzip", "x" * 50]))
async def test_whatever_is_packed_in_another_way_or_not_at_all_is_refused(body: bytes, coding: str) -> None:
    expected = {"encoding", "truncated"} if body else {b"", "encoding"}

    assert await told(an_answer(body, coding)) in expected


async def test_a_part_of_a_packed_body_is_not_taken_for_the_whole() -> None:
    assert await told(an_answer(gzip.compress(b"x" * 900)[:-4], "gzip")) == "truncated"


async def test_a_chunk_that_unpacks_to_gigabytes_takes_no_more_memory_than_the_limit() -> None:
    packing = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packing.compress(bytes(MIB)) for _ in range(500)) + packing.flush()
    answer = an_answer(bomb, "gzip", size=len(bomb))
    tracemalloc.start()
    try:
        assert await told(answer, limit=MIB) == "too_large"
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(bomb) < MIB
    assert most < 8 * MIB


@pytest.mark.parametrize(("size", "expected"), [(LIMIT, b"x" * LIMIT), (LIMIT + 1, "too_large")])
async def test_an_answer_that_was_made_whole_has_the_same_limit(size: int, expected: object) -> None:
    assert await told(httpx.Response(200, content=b"x" * size)) == expected
