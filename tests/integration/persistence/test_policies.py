from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from shared.persistence.policies import Listing
from shared.runtime.ids import new_id
from tests.support.catalogue import POLICY_TYPE, a_ref, a_stored
from tests.support.engine_lab import Lab, lab


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[Lab]:
    async with lab(database_url) as opened:
        yield opened


async def list_(world: Lab, *remote_ids: str, policy_type: str = POLICY_TYPE) -> Listing:
    async with world.uow.begin(world.tenant_id) as tx:
        return await tx.policies.listed(policy_type, [a_ref(one, policy_type=policy_type) for one in remote_ids])


async def missing(world: Lab) -> dict[str, bool]:
    rows = await world.rows("SELECT remote_id, missing_since IS NOT NULL AS missing FROM policies")
    return {row["remote_id"]: row["missing"] for row in rows}


async def test_a_listing_adds_what_is_new_and_marks_what_is_gone(world: Lab) -> None:
    first = await list_(world, "a", "b")
    second = await list_(world, "b", "c")
    assert (first, second) == (Listing(2, 2, 0), Listing(2, 1, 1))
    assert await missing(world) == {"a": True, "b": False, "c": False}


async def test_a_policy_that_comes_back_keeps_its_id(world: Lab) -> None:
    await list_(world, "a")
    before = await world.rows("SELECT id FROM policies")
    await list_(world)
    await list_(world, "a")
    assert await world.rows("SELECT id FROM policies") == before
    assert await missing(world) == {"a": False}


async def test_a_listing_of_one_type_says_nothing_about_another(world: Lab) -> None:
    await list_(world, "a", policy_type="assignmentFilter")
    await list_(world)
    assert await missing(world) == {"a": False}


async def test_an_object_that_paging_yielded_twice_is_one_policy(world: Lab) -> None:
    assert await list_(world, "a", "a") == Listing(1, 1, 0)


async def test_a_renamed_policy_has_its_new_name(world: Lab) -> None:
    await list_(world, "a")
    async with world.uow.begin(world.tenant_id) as tx:
        await tx.policies.listed(POLICY_TYPE, [a_ref("a", "Renamed")])
        page = await tx.policies.page()
    assert [(one.display_name, one.natural_key) for one in page] == [("Renamed", '["Renamed"]')]


async def test_pages_follow_one_another_without_gap_or_overlap(world: Lab) -> None:
    await list_(world, *(f"r{number:02}" for number in range(7)))
    seen, after = [], None
    async with world.uow.begin(world.tenant_id) as tx:
        while page := await tx.policies.page(after=after, limit=3):
            seen += [one.remote_id for one in page]
            after = page[-1].id
    assert sorted(seen) == [f"r{number:02}" for number in range(7)]


async def test_ids_of_another_tenant_are_unknown(world: Lab) -> None:
    await list_(world, "a")
    async with world.uow.begin(world.tenant_id) as tx:
        own = (await tx.policies.page())[0].id
        stranger = uuid4()
        assert await tx.policies.unknown([own, stranger]) == {stranger}
    async with world.uow.begin(await world.add_tenant()) as tx:
        assert await tx.policies.unknown([own]) == {own}
        assert await tx.policies.by_ids([own]) == []


async def test_the_latest_capture_is_remembered(world: Lab) -> None:
    await list_(world, "a", "b")
    async with world.uow.begin(world.tenant_id) as tx:
        first, second = await tx.policies.page()
        sha256 = await a_stored(tx, value=1)
        await tx.policies.captured({first.id: sha256, new_id(): sha256})
        veil = (await tx.keys.cipher()).veil
        again = {one.id: one for one in await tx.policies.by_ids([first.id, second.id])}
    assert again[first.id].snapshot_sha256 == veil(sha256)
    assert again[first.id].captured_at is not None
    assert again[second.id].snapshot_sha256 is None


async def test_a_name_that_the_database_refuses_does_not_stop_the_listing(world: Lab) -> None:
    async with world.uow.begin(world.tenant_id) as tx:
        await tx.policies.listed(POLICY_TYPE, [a_ref("a", "nul \0 and half \ud800 a pair"), a_ref("b")])
        names = {one.remote_id: one.display_name for one in await tx.policies.page()}
    assert names == {"a": "nul \N{REPLACEMENT CHARACTER} and half ? a pair", "b": "Policy b"}
