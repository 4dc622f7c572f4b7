"""Files that go to and come from a server: archives of backup sets."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import IO

import httpx

from cli.models import ImportedSet
from cli.refusals import failure_of, not_ours

PIECE = 256 * 1024  # bytes of a file that are sent at a time
SENT = httpx.Timeout(30.0, read=600.0)  # seconds; the answer comes once the file is verified and stored


async def download(http: httpx.AsyncClient, path: str, file: IO[bytes]) -> str | None:
    """Write what is at `path` into `file`; return its SHA-256, None when nothing is there.

    Raises `httpx.HTTPError` when the transfer breaks off, `CliFailure` when something else comes than what was stored.
    """
    digest = hashlib.sha256()
    async with http.stream("GET", path) as response:
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        if not response.is_success:
            await response.aread()
            raise failure_of(response)
        async for piece in response.aiter_bytes():
            digest.update(piece)
            await asyncio.to_thread(file.write, piece)
        stated = response.headers.get("ETag", "").strip('"')
    if stated != digest.hexdigest():
        raise not_ours("what came is not the archive that was stored")
    return digest.hexdigest()


async def upload(
    send: Callable[..., Awaitable[httpx.Response]], path: str, file: IO[bytes], name: str | None
) -> ImportedSet:
    """Send an archive from its beginning through `send`, which raises what a call raises."""
    size = await asyncio.to_thread(file.seek, 0, os.SEEK_END)
    await asyncio.to_thread(file.seek, 0)
    response = await send(
        "POST",
        path,
        params={"name": name} if name else {},
        content=_pieces(file),
        headers={"Content-Type": "application/zip", "Content-Length": str(size)},
        timeout=SENT,
    )
    try:
        return ImportedSet.model_validate({**response.json(), "created": response.status_code == httpx.codes.CREATED})
    except (ValueError, TypeError):
        raise not_ours("the answer is not what an import is answered with") from None


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, PIECE):
        yield piece
