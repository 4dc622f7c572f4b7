import hashlib
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from shared.domain.errors import PermanentError, SafeCode
from shared.persistence.archives import CHUNK_BYTES, archive_content
from shared.ports import ArchiveInfo, RunRecord
from tests.support.engine_lab import Lab, lab

CHUNKS = [bytes([number]) * CHUNK_BYTES for number in range(3)] + [b"end"]
WHOLE = b"".join(CHUNKS)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[Lab]:
    async with lab(database_url) as opened:
        yield opened


async def write(world: Lab, run: RunRecord, chunks: list[bytes], size: int = len(WHOLE)) -> ArchiveInfo:
    async with world.uow.begin(world.tenant_id) as tx:
        await tx.archives.begin(run.id)
    for first in range(0, len(chunks), 2):
        async with world.uow.begin(world.tenant_id) as tx:
            await tx.archives.append(run.id, first, chunks[first : first + 2])
    async with world.uow.begin(world.tenant_id) as tx:
        return await tx.archives.finish(run.id, name="export.zip", sha256=hashlib.sha256(WHOLE).hexdigest(), size=size)


async def read(world: Lab, archive: ArchiveInfo) -> bytes:
    return b"".join([chunk async for chunk in archive_content(lambda: world.uow.begin(world.tenant_id), archive)])


async def test_an_archive_is_read_back_as_it_was_written(world: Lab) -> None:
    run = await world.add_run()
    archive = await write(world, run, CHUNKS)
    assert await read(world, archive) == WHOLE
    async with world.uow.begin(world.tenant_id) as tx:
        assert await tx.archives.get(run.id) == archive
        assert await tx.archives.page() == [archive]
    async with world.uow.begin(await world.add_tenant()) as tx:
        assert await tx.archives.get(run.id) is None


async def test_an_unfinished_archive_cannot_be_seen_and_the_next_attempt_begins_anew(world: Lab) -> None:
    run = await world.add_run()
    async with world.uow.begin(world.tenant_id) as tx:
        await tx.archives.begin(run.id)
        await tx.archives.append(run.id, 0, [b"of a worker that died"] * 9)
        assert await tx.archives.get(run.id) is None
        assert await tx.archives.page() == []
    assert await read(world, await write(world, run, CHUNKS)) == WHOLE


async def test_an_archive_whose_chunks_do_not_add_up_is_not_finished(world: Lab) -> None:
    run = await world.add_run()
    with pytest.raises(PermanentError) as caught:
        await write(world, run, CHUNKS[:-1])
    assert caught.value.code is SafeCode.SNAPSHOT_CORRUPT
    async with world.uow.begin(world.tenant_id) as tx:
        assert await tx.archives.get(run.id) is None


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE archive_chunks SET content = set_byte(content, 1, 255) WHERE sequence = 1",
        "DELETE FROM archive_chunks WHERE sequence = 3",
    ],
    ids=["changed", "cut"],
)
async def test_a_damaged_archive_breaks_off_with_an_error(world: Lab, damage: str) -> None:
    archive = await write(world, await world.add_run(), CHUNKS)
    async with world.engine.begin() as connection:
        await connection.execute(text(damage))
    with pytest.raises(PermanentError) as caught:
        await read(world, archive)
    assert caught.value.code is SafeCode.SNAPSHOT_CORRUPT


async def test_the_chunks_go_with_their_run(world: Lab) -> None:
    run = await world.add_run()
    await write(world, run, CHUNKS)
    async with world.engine.begin() as connection:
        await connection.execute(text("DELETE FROM bulk_operation_runs"))
    assert await world.rows("SELECT 1 FROM archive_chunks") == []
