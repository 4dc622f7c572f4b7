"""The way back from an execution: its own preview, its own execution, and an undo of that in turn."""

import asyncio
import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.connectors.normalise import fingerprint, natural_key, normalised, normalised_assignments
from shared.domain.errors import ConflictError, PermanentError, RunFatalError, SafeCode, TransientError
from shared.domain.restore_options import Match, RestoreOptions
from shared.ports import RunRecord
from tests.support.engine_lab import lab
from tests.support.fake_writable_tenant import FakeTenant, lost_after, lost_before, raising
from tests.support.restore_lab import ALL_DEVICES, RestoreLab, a_filter, a_policy, to_group

KIND = "deviceConfiguration"
FILTER = "assignmentFilter"


def state(tenant: FakeTenant) -> list[tuple[str, str, str, str]]:
    """What counts in the tenant, without ids: what was deleted comes back under another."""
    filters = {
        remote_id: one.payload["displayName"] for (kind, remote_id), one in tenant.objects.items() if kind == FILTER
    }
    found = []
    for (kind, _), one in tenant.objects.items():
        assignments = copy.deepcopy(one.assignments)
        for entry in assignments:
            filter_id = entry["target"].get("deviceAndAppManagementAssignmentFilterId")
            if filter_id:
                entry["target"]["deviceAndAppManagementAssignmentFilterId"] = filters.get(filter_id, "gone")
        form = fingerprint(normalised(kind, one.payload))
        found.append((kind, natural_key(kind, one.payload), form, fingerprint(normalised_assignments(assignments))))
    return sorted(found)


async def lost_and_previewed(world: RestoreLab) -> RunRecord:
    """The preview of a restore that creates one object again."""
    lost = world.tenant.add(KIND, a_policy("Created"))
    set_id = await world.back_up()
    del world.tenant.objects[KIND, lost]
    return await world.preview(set_id)


async def test_an_undo_reverses_updates_and_deletes_what_the_restore_created(world: RestoreLab) -> None:
    changed = world.tenant.add(KIND, a_policy("Changed", description="as backed up"), [to_group("g1")])
    gone = world.tenant.add(KIND, a_policy("Gone"), [ALL_DEVICES])
    set_id = await world.back_up()
    world.tenant.objects[KIND, changed].payload["description"] = "as somebody wanted it"
    world.tenant.objects[KIND, changed].assignments = [to_group("g2")]
    del world.tenant.objects[KIND, gone]
    before = state(world.tenant)
    run = await world.execute(await world.preview(set_id))
    assert state(world.tenant) != before
    writes = len(world.tenant.journal)

    preview = await world.undo(run)

    assert len(world.tenant.journal) == writes, "a preview wrote"
    assert await world.actions(preview) == {"Changed": "update", "Gone": "delete"}
    assert preview.undo_of == run.id
    undone = await world.execute(preview)
    assert await world.outcomes(undone) == {"Changed": ("applied_updated", None), "Gone": ("applied_deleted", None)}
    assert state(world.tenant) == before
    assert [write.method for write in world.tenant.journal[writes:]] == ["update", "assign", "delete"]


async def test_an_undo_of_an_undo_brings_everything_back(world: RestoreLab) -> None:
    filter_id = world.tenant.add(FILTER, a_filter("F"))
    ids = [world.tenant.add(KIND, a_policy("A", description="one"), [to_group("g1", filter_id=filter_id)])]
    ids.append(world.tenant.add(KIND, a_policy("B"), [ALL_DEVICES]))
    set_id = await world.back_up()
    del world.tenant.objects[FILTER, filter_id]
    world.tenant.objects[KIND, ids[0]].assignments = []
    del world.tenant.objects[KIND, ids[1]]
    before = state(world.tenant)
    run = await world.execute(await world.preview(set_id))
    restored = state(world.tenant)

    undone = await world.execute(await world.undo(run))
    assert state(world.tenant) == before
    again = await world.execute(await world.undo(undone))
    assert state(world.tenant) == restored
    await world.execute(await world.undo(again))
    assert state(world.tenant) == before


async def test_what_was_changed_since_is_left_alone_and_the_rest_is_undone(world: RestoreLab) -> None:
    ids = {name: world.tenant.add(KIND, a_policy(name, description="as backed up")) for name in ("Edited", "Kept")}
    lost = world.tenant.add(KIND, a_policy("Created"))
    set_id = await world.back_up()
    for remote_id in ids.values():
        world.tenant.objects[KIND, remote_id].payload["description"] = "before the restore"
    del world.tenant.objects[KIND, lost]
    run = await world.execute(await world.preview(set_id))
    world.tenant.objects[KIND, ids["Edited"]].payload["description"] = "somebody's later work"
    created = (await world.items(run))["Created"]["remote_id"]
    world.tenant.objects[KIND, created].assignments = [to_group("later")]

    preview = await world.undo(run)

    assert await world.actions(preview) == {"Edited": "blocked", "Kept": "update", "Created": "blocked"}
    codes = {label: row["plan"]["code"] for label, row in (await world.items(preview)).items()}
    assert codes == {"Edited": "restore.changed_since", "Kept": None, "Created": "restore.changed_since"}
    await world.execute(preview)
    assert world.tenant.objects[KIND, ids["Edited"]].payload["description"] == "somebody's later work"
    assert world.tenant.objects[KIND, ids["Kept"]].payload["description"] == "before the restore"
    assert (KIND, created) in world.tenant.objects


async def test_a_change_between_the_preview_of_an_undo_and_its_execution_blocks_the_deletion(world: RestoreLab) -> None:
    run = await world.execute(await lost_and_previewed(world))
    preview = await world.undo(run)
    created = (await world.items(run))["Created"]["remote_id"]
    world.tenant.objects[KIND, created].payload["description"] = "in use by now"

    undone = await world.execute(preview)

    assert await world.outcomes(undone) == {"Created": ("blocked", "restore.plan_changed")}
    assert (KIND, created) in world.tenant.objects


async def test_what_is_gone_already_needs_no_deletion(world: RestoreLab) -> None:
    run = await world.execute(await lost_and_previewed(world))
    preview = await world.undo(run)
    created = (await world.items(run))["Created"]["remote_id"]
    del world.tenant.objects[KIND, created]
    writes = len(world.tenant.journal)

    undone = await world.execute(preview)

    assert await world.outcomes(undone) == {"Created": ("unchanged", None)}
    assert len(world.tenant.journal) == writes


@pytest.mark.parametrize("fault", [lost_after, lost_before])
async def test_a_deletion_whose_answer_was_lost_is_looked_for(world: RestoreLab, fault: Any) -> None:
    planned = await lost_and_previewed(world)
    before = state(world.tenant)
    preview = await world.undo(await world.execute(planned))
    world.tenant.faults = [fault]

    undone = await world.execute(preview)

    assert await world.outcomes(undone) == {"Created": ("applied_deleted", None)}
    assert state(world.tenant) == before
    assert [write.method for write in world.tenant.journal].count("delete") == 1


async def test_a_create_that_the_tenant_refused_needs_no_way_back(world: RestoreLab) -> None:
    preview = await lost_and_previewed(world)
    world.tenant.faults = [raising(PermanentError(SafeCode.GRAPH_BAD_REQUEST))]
    run = await world.execute(preview)
    assert await world.outcomes(run) == {"Created": ("failed", "graph.bad_request")}

    with pytest.raises(PermanentError) as nothing:
        await world.undo(run)

    assert nothing.value.code is SafeCode.SELECTION_EMPTY


async def assigned_and_lost(world: RestoreLab) -> RunRecord:
    """The preview of a restore that creates one object again and assigns it."""
    lost = world.tenant.add(KIND, a_policy("Created"), [ALL_DEVICES])
    set_id = await world.back_up()
    del world.tenant.objects[KIND, lost]
    return await world.preview(set_id)


async def test_what_was_created_and_could_not_be_assigned_is_deleted(world: RestoreLab) -> None:
    preview = await assigned_and_lost(world)
    world.tenant.faults = [None, raising(PermanentError(SafeCode.GRAPH_BAD_REQUEST))]
    run = await world.execute(preview)
    assert await world.outcomes(run) == {"Created": ("failed", "graph.bad_request")}

    undone = await world.execute(await world.undo(run))

    assert await world.outcomes(undone) == {"Created": ("applied_deleted", None)}
    assert not world.tenant.objects


async def test_what_was_created_by_a_run_that_ended_before_it_assigned_is_deleted(world: RestoreLab) -> None:
    preview = await assigned_and_lost(world)

    def then_unreadable(perform: Any) -> Any:
        made = perform()
        world.tenant.read_faults = [TransientError(SafeCode.GRAPH_UNAVAILABLE)]
        return made

    world.tenant.faults = [then_unreadable]
    run = await world.slice(await world.start(preview), slice_items=1)
    world.tenant.read_faults = [RunFatalError(SafeCode.AUTH_TOKEN_INVALID)]
    run = await world.finished(run)
    assert await world.outcomes(run) == {"Created": ("unknown", "restore.outcome_unknown")}
    world.tenant.read_faults = []

    undo = await world.undo(run)

    assert await world.actions(undo) == {"Created": "delete"}


async def test_a_create_that_nobody_knows_the_outcome_of_is_left_to_a_person(world: RestoreLab) -> None:
    preview = await lost_and_previewed(world)

    def twin(perform: Any) -> Any:
        """The answer is lost, and somebody else creates the same: nothing tells which one is ours."""
        perform()
        world.tenant.add(KIND, a_policy("Created"))
        raise TransientError(SafeCode.GRAPH_UNAVAILABLE)

    world.tenant.faults = [twin]
    run = await world.execute(preview)
    assert await world.outcomes(run) == {"Created": ("unknown", "restore.outcome_unknown")}

    undo = await world.undo(run)

    assert await world.outcomes(undo) == {"Created": ("planned", "restore.outcome_unknown")}
    assert await world.actions(undo) == {"Created": "blocked"}


async def test_the_undo_of_a_copy_names_the_copy_and_not_what_was_copied(world: RestoreLab) -> None:
    world.tenant.add(FILTER, a_filter("F"))
    world.tenant.add(KIND, a_policy("Disk"))
    set_id = await world.back_up()
    run = await world.execute(await world.preview_with(set_id, RestoreOptions(Match.COPY)))

    undo = await world.undo(run)

    assert await world.actions(undo) == {"Disk (restored)": "delete"}


async def test_an_ordinary_preview_of_what_a_restore_replaced_deletes_nothing(world: RestoreLab) -> None:
    ids = [world.tenant.add(KIND, a_policy(name, description="as backed up")) for name in ("Created", "Changed")]
    set_id = await world.back_up()
    del world.tenant.objects[KIND, ids[0]]
    world.tenant.objects[KIND, ids[1]].payload["description"] = "before"
    run = await world.execute(await world.preview(set_id))
    await world.undo(run)

    ordinary = await world.preview(run.id)

    assert await world.actions(ordinary) == {"Changed": "update"}
    async with world.lab.uow.begin(world.tenant_id) as tx:
        kept = await tx.backups.get_set(run.id)
        shown = await tx.backups.items(run.id)
    assert kept is not None
    assert (kept.items, [one.display_name for one in shown]) == (1, ["Changed"])


async def test_there_is_no_way_back_from_a_preview_a_running_execution_or_one_that_wrote_nothing(
    world: RestoreLab,
) -> None:
    world.tenant.add(KIND, a_policy("A"))
    preview = await world.preview(await world.back_up())
    with pytest.raises(PermanentError) as refused:
        await world.undo(preview)
    assert refused.value.code is SafeCode.REQUEST_INVALID
    queued = await world.start(preview)
    with pytest.raises(ConflictError) as active:
        await world.undo(queued)
    assert active.value.code is SafeCode.RUN_STILL_ACTIVE
    done = await world.finished(queued)
    with pytest.raises(PermanentError) as empty:
        await world.undo(done)
    assert empty.value.code is SafeCode.SELECTION_EMPTY


async def test_a_preview_says_when_what_it_would_replace_cannot_be_kept(world: RestoreLab) -> None:
    remote_id = world.tenant.add(KIND, a_policy("A", description="as backed up"))
    set_id = await world.back_up()
    oma = [{"omaUri": "./x", "isEncrypted": True, "secretReferenceValueId": "ref", "value": "****"}]
    world.tenant.objects[KIND, remote_id].payload |= {"omaSettings": oma}

    preview = await world.preview(set_id)

    assert (await world.items(preview))["A"]["plan"]["warnings"] == ["restore.not_undoable"]


NAMES = st.sampled_from(["A", "B", "C"])
ASSIGNMENTS = st.lists(
    st.sampled_from([ALL_DEVICES, to_group("g1"), to_group("g2", excluded=True)]), max_size=2, unique_by=repr
)
POLICIES = st.lists(st.tuples(NAMES, ASSIGNMENTS), min_size=1, max_size=5)
CHANGES = st.lists(st.sampled_from(["keep", "delete", "edit", "rename", "reassign"]), min_size=5, max_size=5)
FAULTS = st.lists(st.sampled_from([None, lost_after, lost_before]), max_size=5)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policies=POLICIES, changes=CHANGES, faults=FAULTS, later=FAULTS)
def test_a_restore_and_its_undo_leave_the_tenant_as_it_was(
    shared_database: str, policies: Any, changes: Any, faults: Any, later: Any
) -> None:
    asyncio.run(_law(shared_database, policies, changes, faults, later))


async def _law(url: str, policies: Any, changes: Any, faults: Any, later: Any) -> None:
    async with lab(url) as opened:
        world = RestoreLab(opened, FakeTenant(), await opened.add_tenant())
        ids = [world.tenant.add(KIND, a_policy(name), to) for name, to in policies]
        set_id = await world.back_up()
        for remote_id, change in zip(ids, changes, strict=False):
            _apply(world.tenant, remote_id, change)
        before = state(world.tenant)
        preview = await world.preview(set_id)
        world.tenant.faults = list(faults)
        run = await world.execute(preview)
        world.tenant.faults = []
        restored = state(world.tenant)
        if restored == before:
            return
        preview = await world.undo(run)
        world.tenant.faults = list(later)
        undone = await world.execute(preview)
        world.tenant.faults = []
        assert state(world.tenant) == before
        await world.execute(await world.undo(undone))
        assert state(world.tenant) == restored


def _apply(tenant: FakeTenant, remote_id: str, change: str) -> None:
    stored = tenant.objects[KIND, remote_id]
    match change:
        case "delete":
            del tenant.objects[KIND, remote_id]
        case "edit":
            stored.payload["description"] = "edited"
        case "rename":
            stored.payload["displayName"] = f"Renamed {remote_id}"
        case "reassign":
            stored.assignments = [to_group("g7")]
