"""Data keys in the database: made once, never worn out, wrapped anew under load, and gone for good when destroyed."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from shared.connectors.graph.settings import GraphSettings
from shared.domain.errors import PermanentError, RunFatalError, SafeCode
from shared.keys.envelope import Purpose
from shared.keys.ring import KeyRing, KeyUnavailable, LocalWrapper
from shared.persistence.key_administration import SqlKeyAdministration
from shared.persistence.snapshots import Snapshot
from shared.persistence.vault import Vault
from tests.support.builders import World, a_new_run
from tests.support.catalogue import a_document
from tests.support.engine_lab import Lab, lab
from tests.support.keys import session_ring

OLD, NEW = LocalWrapper(bytes(range(32))), LocalWrapper(bytes(range(1, 33)))
BEFORE = KeyRing("old", {"old": OLD})
BOTH = KeyRing("new", {"new": NEW, "old": OLD})
AFTER = KeyRing("new", {"new": NEW})
CANARY = "hunter2-not-in-any-row"


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[Lab]:
    async with lab(database_url) as opened:
        yield opened


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def admin(world: Lab, ring: KeyRing = BEFORE) -> SqlKeyAdministration:
    return SqlKeyAdministration(world.engine, ring, actor="cli:test")


async def sealed(vault: Vault, tenant: UUID, plain: bytes = b"x") -> bytes:
    return (await vault.of(tenant).sealer(1)).seal(Purpose.SNAPSHOT, ("a",), plain)


async def opened(vault: Vault, tenant: UUID, content: bytes) -> bytes:
    return (await vault.of(tenant).cipher(content)).open(Purpose.SNAPSHOT, ("a",), content)


async def keys(world: Lab) -> list[dict[str, Any]]:
    return list(await world.rows("SELECT * FROM data_keys ORDER BY tenant_id, generation"))


async def test_processes_that_need_a_key_at_once_share_the_one_that_was_made(world: Lab) -> None:
    vaults = [Vault(world.engine, BEFORE) for _ in range(8)]
    made = await asyncio.gather(*(sealed(vault, world.tenant_id) for vault in vaults))
    assert {await opened(vaults[0], world.tenant_id, one) for one in made} == {b"x"}
    assert [row["generation"] for row in await keys(world)] == [0, 1]


async def test_a_key_that_is_worn_out_makes_way_for_a_new_generation(world: Lab) -> None:
    vault = Vault(world.engine, BEFORE, most_uses=5, uses_at_once=2)
    made = [await sealed(vault, world.tenant_id, bytes([number])) for number in range(12)]
    other = Vault(world.engine, BEFORE)
    assert [await opened(other, world.tenant_id, one) for one in made] == [bytes([n]) for n in range(12)]
    found = await keys(world)
    assert [row["generation"] for row in found] == [0, 1, 2, 3]
    assert all(row["uses"] <= 5 for row in found)


async def test_no_key_is_used_more_often_than_it_may_by_many_processes_together(world: Lab) -> None:
    vaults = [Vault(world.engine, BEFORE, most_uses=7, uses_at_once=3) for _ in range(4)]
    made = await asyncio.gather(*(sealed(vault, world.tenant_id) for vault in vaults * 8))
    by_generation: dict[bytes, int] = {}
    for one in made:
        by_generation[one[1:5]] = by_generation.get(one[1:5], 0) + 1
    assert max(by_generation.values()) <= 7
    assert len({one[5:17] for one in made}) == len(made)


async def test_a_generation_that_another_process_began_is_opened_at_once_and_used_soon(world: Lab) -> None:
    clock = Clock()
    vault, other = Vault(world.engine, BEFORE, monotonic=clock), Vault(world.engine, BEFORE)
    await sealed(vault, world.tenant_id)
    assert await admin(world).begin_generation(world.tenant_id) == 2
    theirs = await sealed(other, world.tenant_id)
    assert ((await sealed(vault, world.tenant_id))[4], theirs[4]) == (1, 2)
    assert await opened(vault, world.tenant_id, theirs) == b"x"
    clock.now = 60
    assert (await sealed(vault, world.tenant_id))[4] == 2


async def test_a_wrapped_key_that_was_moved_to_another_tenant_or_generation_does_not_open(world: Lab) -> None:
    other = await world.add_tenant()
    for tenant in (world.tenant_id, other):
        await sealed(Vault(world.engine, BEFORE), tenant)
    moved = (
        "UPDATE data_keys SET wrapped = (SELECT wrapped FROM data_keys WHERE tenant_id = :of AND generation = :number)"
        " WHERE tenant_id = :to AND generation = 1 RETURNING 1"
    )
    for source, generation in ((other, 1), (world.tenant_id, 0)):
        async with world.engine.begin() as connection:
            await connection.execute(text(moved), {"of": source, "number": generation, "to": world.tenant_id})
        with pytest.raises(KeyUnavailable):
            await Vault(world.engine, BEFORE).of(world.tenant_id).cipher()


async def test_a_rotation_under_load_loses_nothing_and_needs_the_old_key_no_more(world: Lab) -> None:
    tenants = [await world.add_tenant() for _ in range(30)]
    written: list[tuple[UUID, bytes]] = []
    stop = asyncio.Event()

    async def writer(ring: KeyRing) -> None:
        while not stop.is_set():
            tenant = tenants[len(written) % len(tenants)]
            written.append((tenant, await sealed(Vault(world.engine, ring, refresh=0), tenant)))

    writers = [asyncio.create_task(writer(ring)) for ring in (KeyRing("old", BOTH.wrappers), BOTH)]
    while len(written) < 2 * len(tenants):
        await asyncio.sleep(0)
    steps = [step async for step in admin(world, BOTH).rewrap()]
    stop.set()
    await asyncio.gather(*writers)
    steps += [step async for step in admin(world, BOTH).rewrap()]  # what was made under the old key meanwhile

    assert {row["kek_id"] for row in await keys(world)} == {"new"}
    assert sum(step.left for step in steps) == 0
    fresh = Vault(world.engine, AFTER)
    assert {await opened(fresh, tenant, content) for tenant, content in written} == {b"x"}
    audited = await world.rows("SELECT count(*) AS n FROM audit_logs WHERE action = 'data_key.rewrapped'")
    assert audited[0]["n"] == sum(step.done for step in steps)


async def test_a_rotation_that_was_broken_off_goes_on_where_it_stood(world: Lab) -> None:
    for tenant in [await world.add_tenant() for _ in range(120)]:
        await Vault(world.engine, BEFORE).of(tenant).cipher()
    async for _ in admin(world, BOTH).rewrap():
        break
    assert {row["kek_id"] for row in await keys(world)} == {"old", "new"}
    assert sum([step.done async for step in admin(world, BOTH).rewrap()]) == 240 - 100
    assert sum([step.done async for step in admin(world, BOTH).rewrap()]) == 0


async def test_keys_whose_wrapping_key_is_not_set_are_left_and_the_others_go_on(world: Lab) -> None:
    lost, fine = world.tenant_id, await world.add_tenant()
    await Vault(world.engine, KeyRing("lost", {"lost": LocalWrapper(b"l" * 31 + b"m")})).of(lost).cipher()
    await Vault(world.engine, BEFORE).of(fine).cipher()
    steps = [step async for step in admin(world, BOTH).rewrap()]
    assert (sum(step.done for step in steps), sum(step.left for step in steps)) == (2, 2)
    with pytest.raises(KeyUnavailable) as caught:
        await Vault(world.engine, BOTH).of(lost).cipher()
    assert caught.value.code is SafeCode.KEY_UNAVAILABLE


async def test_after_a_shredding_nothing_of_the_tenant_opens_and_nothing_new_is_sealed(world: Lab) -> None:
    other = await world.add_tenant()
    snapshot = Snapshot.of(a_document(value=1))
    for tenant in (world.tenant_id, other):
        async with world.uow.begin(tenant) as tx:
            await tx.snapshots.put_many([snapshot])
    rows = await world.rows("SELECT tenant_id, sha256 FROM snapshots")
    places = {row["tenant_id"]: row["sha256"] for row in rows}
    assert await admin(world).shred(world.tenant_id) == 2

    later = Vault(world.engine, BEFORE)
    for attempt in (later.of(world.tenant_id).cipher(), later.of(world.tenant_id).sealer(1)):
        with pytest.raises(PermanentError) as caught:
            await attempt
        assert caught.value.code is SafeCode.TENANT_SHREDDED
    with pytest.raises(PermanentError):
        await admin(world).begin_generation(world.tenant_id)
    assert [row["wrapped"] for row in await keys(world) if row["tenant_id"] == world.tenant_id] == [None, None]
    async with world.uow.begin(other) as tx:
        assert len(await tx.snapshots.read_many([places[other]])) == 1
    found = await world.rows("SELECT status FROM tenants WHERE id = :id", id=world.tenant_id)
    assert found[0]["status"] == "offboarded"


async def test_a_tenant_without_keys_can_be_shredded_and_is_given_none_later(world: Lab) -> None:
    assert await admin(world).shred(world.tenant_id) == 0
    with pytest.raises(PermanentError) as caught:
        await Vault(world.engine, BEFORE).of(world.tenant_id).sealer(1)
    assert caught.value.code is SafeCode.TENANT_SHREDDED


async def test_a_process_that_holds_the_keys_of_a_shredded_tenant_forgets_them(world: Lab) -> None:
    clock = Clock()
    vault = Vault(world.engine, BEFORE, monotonic=clock)
    content = await sealed(vault, world.tenant_id)
    await admin(world).shred(world.tenant_id)
    clock.now = 10.0
    with pytest.raises(PermanentError) as caught:
        await opened(vault, world.tenant_id, content)
    assert caught.value.code is SafeCode.TENANT_SHREDDED


async def test_a_stored_credential_is_sealed_bound_to_its_tenant_and_opened_when_it_is_used(world: Lab) -> None:
    builder = World(world.engine)
    known = {"client_id": "app", "secret_ref": "env:OLD"}
    tenant, other = [await builder.add_tenant(str(n), connection=known) for n in range(2)]
    keys_of = SqlKeyAdministration(world.engine, session_ring(), actor="cli:test")
    for one in (tenant, other):
        await keys_of.store_credential(one, f"{CANARY}-{one}")
    settings = [await connection_settings(world, one) for one in (tenant, other)]

    assert [one.secret() for one in settings] == [f"{CANARY}-{one}" for one in (tenant, other)]
    assert CANARY not in repr(settings)
    assert CANARY.encode() not in b"".join(
        row["content"] for row in await world.rows("SELECT content FROM tenant_credentials")
    )
    async with world.engine.begin() as connection:
        await connection.execute(
            text(
                "UPDATE tenant_credentials SET content = (SELECT content FROM tenant_credentials WHERE tenant_id = :of)"
            ),
            {"of": other},
        )
    with pytest.raises(RunFatalError, match=r"tenant\.connection_invalid"):
        (await connection_settings(world, tenant)).secret()


async def connection_settings(world: Lab, tenant: UUID) -> GraphSettings:
    run = await a_run(world, tenant)
    async with world.uow.begin(tenant) as tx:
        return GraphSettings.of((await tx.authority.of(run)).connection)


async def a_run(world: Lab, tenant: UUID) -> Any:
    async with world.uow.begin(tenant) as tx:
        return await tx.runs.insert(a_new_run(tenant_id=tenant))
