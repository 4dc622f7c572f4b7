from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from shared.domain.backups import CaptureWarning, Quality
from shared.runtime.ids import new_id
from tests.support.catalogue import POLICY_TYPE, a_capture, a_ref, a_stored
from tests.support.engine_lab import Lab, lab


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[Lab]:
    async with lab(database_url) as opened:
        yield opened


async def a_set(world: Lab, *remote_ids: str) -> UUID:
    set_id = new_id()
    async with world.uow.begin(world.tenant_id) as tx:
        await tx.backups.create_set(set_id, name="Nightly", created_by="Mara")
        sha256 = await a_stored(tx, value=1)
        await tx.backups.add_items(set_id, [a_capture(one, sha256) for one in remote_ids])
    return set_id


async def test_an_item_comes_back_as_it_was_put(world: Lab) -> None:
    set_id = await a_set(world)
    warnings = (CaptureWarning.MASKED_SECRET, CaptureWarning.ASSIGNMENTS_MISSING)
    async with world.uow.begin(world.tenant_id) as tx:
        sha256 = await a_stored(tx, value=2)
        one = a_capture("a", sha256, quality=Quality.DEGRADED, warnings=warnings)
        added = await tx.backups.add_items(set_id, [one, a_capture("b", sha256)])
        items = await tx.backups.items(set_id)
        veil = (await tx.keys.cipher()).veil
    assert added == 2
    assert [(item.remote_id, item.quality, item.warnings) for item in items] == [
        ("a", Quality.DEGRADED, warnings),
        ("b", Quality.FULL, ()),
    ]
    assert {item.snapshot_sha256 for item in items} == {veil(sha256)}
    assert {item.fingerprint for item in items} == {veil(one.fingerprint)}


async def test_adding_the_same_object_again_keeps_the_first(world: Lab) -> None:
    set_id = await a_set(world, "a")
    async with world.uow.begin(world.tenant_id) as tx:
        other = await a_stored(tx, value=2)
        added = await tx.backups.add_items(set_id, [a_capture("a", other), a_capture("b", other)])
        items = {item.remote_id: item.snapshot_sha256 for item in await tx.backups.items(set_id)}
        veil = (await tx.keys.cipher()).veil
    assert added == 1
    assert items["a"] != veil(other) == items["b"]


async def test_creating_and_completing_a_set_twice_changes_nothing(world: Lab) -> None:
    set_id = await a_set(world, "a")
    async with world.uow.begin(world.tenant_id) as tx:
        await tx.backups.complete(set_id)
        before = await tx.backups.get_set(set_id)
    async with world.uow.begin(world.tenant_id) as tx:
        await tx.backups.create_set(set_id, name="Other", created_by="Other")
        await tx.backups.complete(set_id)
        assert await tx.backups.get_set(set_id) == before
    assert before is not None
    assert (before.name, before.items, before.completed_at is not None) == ("Nightly", 1, True)


async def test_sets_and_items_are_paged_and_belong_to_one_tenant(world: Lab) -> None:
    sets = [await a_set(world, "a", "b", "c") for _ in range(3)]
    async with world.uow.begin(world.tenant_id) as tx:
        first = await tx.backups.page_sets(limit=2)
        rest = await tx.backups.page_sets(before=first[-1].id, limit=2)
        items = await tx.backups.items(sets[0], limit=2)
        last = await tx.backups.items(sets[0], after=items[-1].id, limit=2)
    assert [one.id for one in first + rest] == sets[::-1]
    assert [one.remote_id for one in items + last] == ["a", "b", "c"]
    async with world.uow.begin(await world.add_tenant()) as tx:
        assert await tx.backups.page_sets() == []
        assert await tx.backups.get_set(sets[0]) is None
        assert await tx.backups.items(sets[0]) == []
        assert await tx.backups.items_by_ids([items[0].id]) == []


async def test_totals_count_quality_and_tell_new_bytes_from_reused_ones(world: Lab) -> None:
    await a_set(world, "a")  # stores the content of value=1
    set_id = await a_set(world, "a", "b")
    async with world.uow.begin(world.tenant_id) as tx:
        fresh = await a_stored(tx, value=2)
        await tx.backups.add_items(set_id, [a_capture("c", fresh, quality=Quality.METADATA_ONLY)])
        totals = await tx.backups.totals(set_id)
        fresh = (await tx.keys.cipher()).veil(fresh)
    sizes = {
        row["sha256"]: row["size"]
        for row in await world.rows("SELECT sha256, octet_length(content) AS size FROM snapshots")
    }
    assert (totals.items, totals.full, totals.degraded, totals.metadata_only) == (3, 2, 0, 1)
    assert totals.bytes_stored == sizes.pop(fresh)
    assert totals.bytes_reused == sum(sizes.values())


async def test_policies_that_are_in_the_set_already_are_told(world: Lab) -> None:
    set_id = await a_set(world, "a")
    async with world.uow.begin(world.tenant_id) as tx:
        await tx.policies.listed(POLICY_TYPE, [a_ref("a"), a_ref("b")])
        ids = {one.remote_id: one.id for one in await tx.policies.page()}
        assert await tx.backups.policies_in_set(set_id, list(ids.values())) == {ids["a"]}
