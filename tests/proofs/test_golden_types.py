"""Each policy type over the simulated Graph: captured, wiped, restored, captured again, and it is the same."""

import pytest

from shared.connectors.policy_types import all_types, policy_type
from shared.domain.backups import Quality
from shared.persistence.snapshots import Snapshot
from shared.ports import NewBackupItem
from shared.runtime.ids import new_id
from simulator.journal import GRAPH
from simulator.process import RunningSimulator
from tests.support.engine_lab import Lab
from tests.support.one_type import TO_EVERYBODY, captured, content, fill, wipe
from tests.support.random_previews import SECRET, tenant_over_graph

WRITTEN = [one.key for one in all_types() if one.may_write]
SHOWN = [one.key for one in all_types() if not one.may_write]
UNKNOWN = "madeUpPolicy"


@pytest.fixture(autouse=True)
def _secret(simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, simulator.client_secret)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "elsewhere"])
@pytest.mark.parametrize("key", WRITTEN)
async def test_what_was_wiped_is_restored_as_it_was_captured(
    opened: Lab,
    simulator: RunningSimulator,
    key: str,
    elsewhere: bool,  # noqa: FBT001  parametrised
) -> None:
    """In the tenant that it was captured from, and in another one, where everything has other ids."""
    source = simulator.new_tenant()
    fill(simulator, source, key)
    before = await captured(simulator, source, key)
    directory = simulator.new_tenant() if elsewhere else source
    world = await tenant_over_graph(opened, simulator, directory)
    if elsewhere:
        set_id = await world.back_up(before)
    else:
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
    world = await tenant_over_graph(opened, simulator, directory)
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
    world = await tenant_over_graph(opened, simulator, directory)
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
