"""Each policy type over the simulated Graph: captured, wiped, restored, captured again, and it is the same."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shared.connectors.factory import AllConnectors
from shared.connectors.normalise import normalised, normalised_assignments
from shared.connectors.policy_types import all_types, policy_type, recognise
from shared.connectors.port import CallTag, Json, TenantConnection
from shared.domain.backups import Quality
from shared.persistence.snapshots import Snapshot
from shared.ports import NewBackupItem
from shared.runtime.ids import new_id
from simulator import sample
from simulator.journal import GRAPH
from simulator.process import RunningSimulator, running
from tests.integration.restore_worker.test_over_graph import a_world, settings_of
from tests.support.engine_lab import Lab, lab
from tests.support.fake_writable_tenant import FakeTenant, Stored

WRITTEN = [one.key for one in all_types() if one.may_write]
SHOWN = [one.key for one in all_types() if not one.may_write]
UNKNOWN = "madeUpPolicy"
GOLDEN = Path(__file__).parents[2] / "unit" / "connectors" / "golden"
TO_EVERYBODY = [
    {"target": {"@odata.type": f"#microsoft.graph.{kind}AssignmentTarget"}}
    for kind in ("allDevices", "allLicensedUsers")
]


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSimulator]:
    with running(tmp_path_factory.mktemp("simulator"), ["--tenants", "0"]) as started:
        yield started


@pytest.fixture(autouse=True)
def _secret(simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEADOW_SIMULATOR_SECRET", simulator.client_secret)


@pytest.fixture
async def opened(shared_database: str) -> AsyncIterator[Lab]:
    async with lab(shared_database) as one:
        yield one


def exported(key: str) -> Json:
    """An object of the type with settings, as an export of the whole shows it: the sample's, or a recorded one."""
    one = policy_type(key)
    for _, raw in sample.exported():
        is_masked = any(setting.get("isEncrypted") for setting in raw.get("omaSettings", ()))
        if recognise(raw) is one and raw.get("id") != "0" and not is_masked:
            return raw
    recorded: Json = json.loads((GOLDEN / f"{key}.json").read_text(encoding="utf-8"))["payload"]
    return recorded


def fill(simulator: RunningSimulator, directory: str, key: str) -> None:
    """Put an object of the type into a directory; where the type can be assigned, everybody gets it."""
    one = policy_type(key)
    raw = exported(key) | ({"assignments": TO_EVERYBODY} if one.assigning else {})
    order = {"objects": [raw], "collection": one.collection, "keep_ids": True}
    simulator.admin("POST", f"/tenants/{directory}/objects", order)


async def captured(simulator: RunningSimulator, directory: str, key: str) -> FakeTenant:
    """Every object of the type, without what is in each tenant from the start."""
    connection = TenantConnection(new_id(), "graph", directory, settings_of(simulator))
    found = FakeTenant()
    async with AllConnectors().reader(connection) as reader:
        for ref in [ref async for ref in reader.list_refs(key, CallTag()) if ref.remote_id != "0"]:
            policy = await reader.read(key, ref.remote_id, CallTag())
            found.objects[key, ref.remote_id] = Stored(policy.payload, list(policy.assignments))
    return found


def content(key: str, tenant: FakeTenant) -> list[tuple[Json, list[Json]]]:
    """What counts of the objects: normal form and assignments."""
    return [(normalised(key, one.payload), normalised_assignments(one.assignments)) for one in tenant.objects.values()]


def wipe(simulator: RunningSimulator, directory: str, key: str, tenant: FakeTenant) -> None:
    """Delete the objects as an administrator does; what is assigned one by one has to be taken back before."""
    one = policy_type(key)
    with simulator.graph(directory) as graph:
        for _, remote_id in tenant.objects:
            path = f"{one.collection}/{remote_id}"
            if one.assigning and one.assigning.one_by_one:
                for assignment in graph.get(f"{path}/assignments").raise_for_status().json()["value"]:
                    graph.delete(f"{path}/assignments/{assignment['id']}").raise_for_status()
            graph.delete(path).raise_for_status()


@pytest.mark.parametrize("key", WRITTEN)
async def test_what_was_wiped_is_restored_as_it_was_captured(
    opened: Lab, simulator: RunningSimulator, key: str
) -> None:
    directory = simulator.new_tenant()
    fill(simulator, directory, key)
    before = await captured(simulator, directory, key)
    world = await a_world(opened, simulator, directory)
    world.tenant = before
    set_id = await world.back_up()
    wipe(simulator, directory, key, before)
    assert not (await captured(simulator, directory, key)).objects

    run = await world.execute(await world.preview(set_id))

    assert set((await world.outcomes(run)).values()) == {("applied_created", None)}
    assert content(key, await captured(simulator, directory, key)) == content(key, before)
    [(form, assignments)] = content(key, before)
    assert len(form) > 1
    assert len(assignments) == (len(TO_EVERYBODY) if policy_type(key).assigning else 0)


@pytest.mark.parametrize("key", SHOWN)
async def test_what_is_preview_only_is_shown_and_never_written(
    opened: Lab, simulator: RunningSimulator, key: str
) -> None:
    source, directory = simulator.new_tenant(), simulator.new_tenant()
    fill(simulator, source, key)
    before = await captured(simulator, source, key)
    assert before.objects
    world = await a_world(opened, simulator, directory)
    set_id = await world.back_up(before)
    mark = simulator.last_seq()

    preview = await world.preview(set_id)
    run = await world.execute(preview)

    assert set((await world.actions(preview)).values()) == {"skip"}
    assert set((await world.outcomes(preview)).values()) == {("planned", "restore.preview_only")}
    assert set((await world.outcomes(run)).values()) == {("skipped", "restore.preview_only")}
    assert not [
        entry for entry in simulator.journal(mark) if entry.kind == GRAPH and (entry.effective or entry.mutating)
    ]


async def test_an_object_of_a_type_that_nobody_knows_is_shown_and_never_written(
    opened: Lab, simulator: RunningSimulator
) -> None:
    """A newer version, or another tool, may have captured it. Nothing is guessed: not where it lives, nor its name."""
    directory = simulator.new_tenant()
    world = await a_world(opened, simulator, directory)
    set_id = new_id()
    async with opened.uow.begin(world.tenant_id) as tx:
        document = {"policy_type": UNKNOWN, "payload": {"id": "x", "displayName": "From afar"}, "assignments": []}
        snapshot = Snapshot.of(document)
        item = NewBackupItem(
            policy_id=None,
            policy_type=UNKNOWN,
            remote_id="x",
            display_name="From afar",
            natural_key='["From afar"]',
            snapshot_sha256=snapshot.sha256,
            fingerprint="0" * 64,
            quality=Quality.FULL,
            warnings=(),
        )
        await tx.backups.create_set(set_id, name="From afar", created_by="Mara")
        await tx.snapshots.put_many([snapshot])
        await tx.backups.add_items(set_id, [item])
        await tx.backups.complete(set_id)
    mark = simulator.last_seq()

    preview = await world.preview(set_id)
    run = await world.execute(preview)

    assert await world.actions(preview) == {"From afar": "blocked"}
    assert await world.outcomes(preview) == {"From afar": ("planned", "policy.type_unknown")}
    assert await world.outcomes(run) == {"From afar": ("blocked", "policy.type_unknown")}
    assert not [entry for entry in simulator.journal(mark) if entry.kind == GRAPH]
