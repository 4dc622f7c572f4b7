"""A key-encryption key that is missing for a while: nothing is stored in clear, nothing is lost, the run goes on."""

from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from shared.domain.errors import TransientError
from shared.domain.runs import RunStatus
from shared.keys.ring import KeyRing, LocalWrapper
from shared.persistence.unit_of_work import SqlUnitOfWork
from shared.persistence.vault import Vault
from tests.support.bulk_lab import BulkLab
from tests.support.engine_lab import Lab, lab
from tests.support.fake_tenant import FakeTenant

RIGHT = KeyRing("main", {"main": LocalWrapper(bytes(range(32)))})
WITHOUT = KeyRing("other", {"other": LocalWrapper(bytes(range(1, 33)))})
WRONG = KeyRing("main", WITHOUT.wrappers | {"main": WITHOUT.wrappers["other"]})


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[Lab]:
    async with lab(database_url) as opened:
        yield opened


def worker(world: Lab, ring: KeyRing, tenant: FakeTenant) -> BulkLab:
    """A worker that was given these keys."""
    world.uow = SqlUnitOfWork(world.engine, service="lab", vault=Vault(world.engine, ring))
    world.make_vault = lambda engine: Vault(engine, ring)
    return BulkLab(world, tenant)


@pytest.mark.parametrize("ring", [WITHOUT, WRONG], ids=["not_set", "another_under_its_id"])
async def test_a_capture_waits_for_the_key_and_goes_on_once_it_is_back(world: Lab, ring: KeyRing) -> None:
    tenant = FakeTenant()
    tenant.add("a", value=1)
    ids = await worker(world, RIGHT, tenant).synced()
    await Vault(world.engine, RIGHT).of(world.tenant_id).cipher()  # the tenant has its keys
    bad = worker(world, ring, tenant)
    run = await world.add_run(operation="policy.capture_snapshot", target_id=ids["a"])
    for _ in range(3):
        with suppress(TransientError):  # the message comes again
            await world.wake(bad.engine, run)
        run = await world.get(run)
    waiting = run.status

    good = worker(world, RIGHT, tenant)
    await world.rows("UPDATE bulk_operation_runs SET lease_until = NULL, lease_owner = NULL RETURNING 1")
    done = await good.finish(run)

    assert not waiting.is_terminal
    assert (done.status, done.counts.succeeded) == (RunStatus.SUCCEEDED, 1)
    assert await good.count("snapshots") == 1
