import hashlib
from collections.abc import AsyncIterator

import pytest
import zstandard
from sqlalchemy import text

from shared.domain.errors import PermanentError, SafeCode
from shared.keys.envelope import Purpose
from shared.persistence.snapshots import MAX_SNAPSHOT_BYTES, Snapshot
from shared.persistence.unit_of_work import SqlTransaction
from tests.support.catalogue import a_document
from tests.support.engine_lab import Lab, lab


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[Lab]:
    async with lab(database_url) as opened:
        yield opened


async def address(tx: SqlTransaction, snapshot: Snapshot) -> str:
    """Where a snapshot of the tenant lies."""
    return (await tx.keys.cipher()).veil(snapshot.sha256)


async def overwrite(world: Lab, content: bytes, raw_bytes: int | None = None) -> None:
    async with world.engine.begin() as connection:
        await connection.execute(
            text("UPDATE snapshots SET content = :content, raw_bytes = coalesce(:raw, raw_bytes)"),
            {"content": content, "raw": raw_bytes},
        )


async def test_what_was_put_is_read_back_by_its_hash(world: Lab) -> None:
    documents = [a_document(value=number, name="Müller 🔐") for number in range(3)]
    snapshots = [Snapshot.of(document) for document in documents]
    async with world.uow.begin(world.tenant_id) as tx:
        new = await tx.snapshots.put_many(snapshots)
        places = [await address(tx, one) for one in snapshots]
        read = await tx.snapshots.read_many(places)
    assert new == {one.sha256 for one in snapshots}
    assert [read[place] for place in places] == documents


async def test_the_same_content_is_stored_once_however_its_keys_are_ordered(world: Lab) -> None:
    one = Snapshot.of({"policy_type": "t", "payload": {"a": 1, "b": 2}, "assignments": []})
    other = Snapshot.of({"assignments": [], "payload": {"b": 2, "a": 1}, "policy_type": "t"})
    async with world.uow.begin(world.tenant_id) as tx:
        first = await tx.snapshots.put_many([one, other])
    async with world.uow.begin(world.tenant_id) as tx:
        second = await tx.snapshots.put_many([other])
    rows = await world.rows("SELECT sha256 FROM snapshots")
    assert (set(first), set(second), len(rows)) == ({one.sha256}, set(), 1)


async def test_another_tenant_cannot_read_a_snapshot_by_its_hash(world: Lab) -> None:
    snapshot = Snapshot.of(a_document(value=1))
    async with world.uow.begin(world.tenant_id) as tx:
        await tx.snapshots.put_many([snapshot])
        theirs = await address(tx, snapshot)
    async with world.uow.begin(await world.add_tenant()) as tx:
        places = [theirs, await address(tx, snapshot), snapshot.sha256]
        assert await tx.snapshots.fetch_many(places) == {}
        with pytest.raises(PermanentError) as caught:
            await tx.snapshots.read_many(places)
    assert caught.value.code is SafeCode.SNAPSHOT_MISSING


async def sealed(world: Lab, place: str, content: bytes) -> bytes:
    """What somebody with the tenant's key would have put into a row."""
    async with world.uow.begin(world.tenant_id) as tx:
        return (await tx.keys.sealer(1)).seal(Purpose.SNAPSHOT, (place,), content)


DAMAGES = (
    *("flipped", "version", "generation", "truncated", "extended", "other_content", "of_another_row", "in_clear"),
    *("empty", "not_zstd"),
)


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_row_is_refused(world: Lab, damage: str) -> None:
    snapshot = Snapshot.of(a_document(value="x" * 500))
    async with world.uow.begin(world.tenant_id) as tx:
        await tx.snapshots.put_many([snapshot])
        other = Snapshot.of(a_document(value="y" * 500))
        place = await address(tx, snapshot)
    content = (await world.rows("SELECT content FROM snapshots"))[0]["content"]
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 0x01
    damaged = {
        "flipped": bytes(flipped),
        "version": b"\x02" + content[1:],
        "generation": content[:1] + b"\0\0\0\0" + content[5:],
        "truncated": content[:-3],
        "extended": content + b"more",
        "other_content": await sealed(world, place, other.content),
        "of_another_row": await sealed(world, "another", snapshot.content),
        "in_clear": snapshot.content,
        "empty": b"",
        "not_zstd": await sealed(world, place, b"{}"),
    }
    await overwrite(world, damaged[damage])
    async with world.uow.begin(world.tenant_id) as tx:
        with pytest.raises(PermanentError) as caught:
            await tx.snapshots.read_many([place])
    assert caught.value.code is SafeCode.SNAPSHOT_CORRUPT


@pytest.mark.parametrize("raw_bytes", [None, 2**31 - 1])
async def test_a_decompression_bomb_is_refused_before_it_is_unpacked(world: Lab, raw_bytes: int | None) -> None:
    snapshot = Snapshot.of(a_document(value=1))
    async with world.uow.begin(world.tenant_id) as tx:
        await tx.snapshots.put_many([snapshot])
        place = await address(tx, snapshot)
    compressor = zstandard.ZstdCompressor(level=1).compressobj(size=MAX_SNAPSHOT_BYTES * 4)
    piece = bytes(MAX_SNAPSHOT_BYTES)
    bomb = b"".join(compressor.compress(piece) for _ in range(4)) + compressor.flush()
    await overwrite(world, await sealed(world, place, bomb), raw_bytes)
    async with world.uow.begin(world.tenant_id) as tx:
        stored = (await tx.snapshots.fetch_many([place]))[place]
    with pytest.raises(PermanentError) as caught:
        stored.document()
    assert (caught.value.code, caught.value.context["reason"]) == (SafeCode.SNAPSHOT_CORRUPT, "size")


def test_the_hash_is_of_the_canonical_json() -> None:
    snapshot = Snapshot.of({"b": 1.0, "a": "ü"})
    assert snapshot.sha256 == hashlib.sha256('{"a":"ü","b":1}'.encode()).hexdigest()


@pytest.mark.parametrize("value", [2**60, float("nan"), "\ud800", {1: "a"}], ids=["int", "nan", "surrogate", "key"])
def test_what_json_cannot_carry_exactly_is_refused(value: object) -> None:
    with pytest.raises(PermanentError) as caught:
        Snapshot.of({"value": value})
    assert caught.value.code is SafeCode.POLICY_NOT_CANONICAL


def test_a_document_above_the_limit_is_refused() -> None:
    with pytest.raises(PermanentError) as caught:
        Snapshot.of({"value": "x" * MAX_SNAPSHOT_BYTES})
    assert caught.value.code is SafeCode.SNAPSHOT_TOO_LARGE
