"""Restores over the simulated Graph: its own journal says what was written."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from services.bulk_worker.capturing import capture
from shared.connectors.factory import AllConnectors
from shared.connectors.policy_types import all_types, policy_type
from shared.connectors.port import CallTag, TenantConnection
from shared.persistence.imports import import_backup_set
from shared.ports import RunRecord
from shared.runtime.ids import new_id
from simulator.process import RunningSimulator, running
from tests.support.engine_lab import Lab, lab
from tests.support.fake_writable_tenant import FakeTenant
from tests.support.restore_lab import RestoreLab


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSimulator]:
    with running(tmp_path_factory.mktemp("simulator"), ["--tenants", "1", "--sample"]) as started:
        yield started


@pytest.fixture
async def opened(shared_database: str) -> AsyncIterator[Lab]:
    async with lab(shared_database) as one:
        yield one


async def a_world(opened: Lab, simulator: RunningSimulator, directory: str) -> RestoreLab:
    """A tenant of ours whose system is one of the simulator's."""
    tenant_id = await opened.add_tenant(connection=settings_of(simulator))
    await opened.rows(
        "UPDATE tenants SET external_id = :directory WHERE id = :tenant RETURNING 1",
        directory=directory,
        tenant=tenant_id,
    )
    world = RestoreLab(opened, FakeTenant(), tenant_id)
    world.connectors = AllConnectors()  # type: ignore[assignment]  # the real ones in place of the fake
    return world


def settings_of(simulator: RunningSimulator) -> dict[str, str]:
    return {
        "graph_url": simulator.url,
        "authority_url": simulator.url,
        "client_id": simulator.client_id,
        "secret_ref": "env:MEADOW_SIMULATOR_SECRET",
    }


async def documents(simulator: RunningSimulator, directory: str) -> list[dict[str, Any]]:
    """What an export of the whole directory holds."""
    connection = TenantConnection(new_id(), "graph", directory, settings_of(simulator))
    found = []
    async with AllConnectors().reader(connection) as reader:
        for one in all_types():
            async for ref in reader.list_refs(one.key, CallTag()):
                captured = capture(new_id(), await reader.read(one.key, ref.remote_id, CallTag()))
                found.append(captured.snapshot.document())
    return found


async def counted(world: RestoreLab, run: RunRecord, what: str) -> Counter[str]:
    """Count the run's items by an expression; labels are not unique."""
    rows = await world.lab.rows(f"SELECT {what} AS word FROM restore_run_items WHERE run_id = :run", run=run.id)  # noqa: S608  a constant
    return Counter(row["word"] for row in rows)


PLAIN = ("settingsCatalogPolicy", "assignmentFilter")  # one call makes an object of these
ACTION = "plan->>'action'"


async def test_a_whole_tenant_is_restored_into_an_empty_one(
    opened: Lab, simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEADOW_SIMULATOR_SECRET", simulator.client_secret)
    source = await documents(simulator, simulator.tenants[0])
    directory = simulator.new_tenant()
    world = await a_world(opened, simulator, directory)
    set_id = await import_backup_set(opened.uow, world.tenant_id, "Moved", source, "Mara")

    before = simulator.last_seq()
    preview = await world.preview(set_id)
    assert not [entry for entry in simulator.journal(before) if entry.effective]
    shown = sum(not policy_type(one["policy_type"]).may_write for one in source)
    others = {"unchanged": 1, "blocked": 1}  # built-in scope tag, masked secret
    assert await counted(world, preview, ACTION) == {"create": len(source) - shown - 2, "skip": shown, **others}

    run = await world.execute(preview)

    done = {"applied_created": len(source) - shown - 2, "skipped": shown, **others}
    assert await counted(world, run, "outcome") == done
    assert run.results is not None
    assert [failure["code"] for failure in run.results["failures"]] == ["restore.secret_unavailable"]
    written = [entry for entry in simulator.journal(before) if entry.effective]
    assert {entry.run for entry in written} == {str(run.id)}
    assert {entry.tenant for entry in written} == {directory}
    creates = [
        entry.item for entry in written if entry.method == "POST" and entry.step == "write" and entry.status == 201
    ]
    assert max(Counter(creates).values()) == 1
    again = await world.preview(set_id)
    assert await counted(world, again, ACTION) == {
        "unchanged": len(source) - shown - 1,
        "skip": shown,
        "blocked": 1,
    }


@pytest.mark.parametrize("harm", ["drop_after", "drop_before"])
async def test_lost_answers_of_the_service_neither_double_nor_lose_an_object(
    opened: Lab, simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    monkeypatch.setenv("MEADOW_SIMULATOR_SECRET", simulator.client_secret)
    source = [one for one in await documents(simulator, simulator.tenants[0]) if one["policy_type"] in PLAIN]
    directory = simulator.new_tenant()
    world = await a_world(opened, simulator, directory)
    preview = await world.preview(await import_backup_set(opened.uow, world.tenant_id, "Moved", source, "Mara"))
    creates = (await counted(world, preview, ACTION))["create"]
    rule = {"harm": harm, "tenant": directory, "method": "POST"}
    simulator.admin("POST", "/faults", [{**rule, "step": "write", "times": 3}, {**rule, "step": "assign", "times": 2}])

    before = simulator.last_seq()
    run = await world.execute(preview)

    written = [entry for entry in simulator.journal(before) if entry.effective]
    assert (await counted(world, run, "outcome"))["applied_created"] == creates > 3
    assert max(Counter((entry.item, entry.step) for entry in written).values()) == 1
    assert Counter(entry.step for entry in written)["write"] == creates


async def test_a_restore_and_its_undo_leave_the_directory_as_it_was(
    opened: Lab, simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEADOW_SIMULATOR_SECRET", simulator.client_secret)
    source = await documents(simulator, simulator.tenants[0])
    directory = simulator.new_tenant()
    world = await a_world(opened, simulator, directory)
    set_id = await import_backup_set(opened.uow, world.tenant_id, "Moved", source, "Mara")
    empty = configured(simulator, directory)
    run = await world.execute(await world.preview(set_id))
    full = configured(simulator, directory)
    before = simulator.last_seq()

    undone = await world.execute(await world.undo(run))

    created = (await counted(world, run, "outcome"))["applied_created"]
    assert await counted(world, undone, "outcome") == {"applied_deleted": created}
    assert created > 20
    assert configured(simulator, directory) == empty
    deletions = [entry for entry in simulator.journal(before) if entry.effective]
    assert {entry.method for entry in deletions} == {"DELETE"}
    assert max(Counter(entry.item for entry in deletions).values()) == 1
    await world.execute(await world.undo(undone))
    assert configured(simulator, directory) == full


def configured(simulator: RunningSimulator, directory: str) -> object:
    """How the directory is configured, as the simulator says it; ids do not count."""
    return simulator.admin("GET", f"/tenants/{directory}/state?form=normalised")
