"""Assignments that are sent one by one, over the simulated Graph: whatever stops them, nobody is reached by mistake."""

from typing import Any

import pytest

from shared.connectors.normalise import normalised_assignments
from shared.connectors.port import Json
from shared.ports import RunRecord
from simulator.process import RunningSimulator
from tests.integration.restore_worker.test_over_graph import a_world
from tests.integration.restore_worker.test_retry import retried
from tests.support.engine_lab import Lab
from tests.support.one_type import captured, fill
from tests.support.restore_lab import RestoreLab, to_group

KEY = "windowsAutopilotDeploymentProfile"
PATH = "deviceManagement/windowsAutopilotDeploymentProfiles"
EVERYBODY: Json = {"target": {"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"}}
PILOTS, KIOSKS = (to_group(f"77777777-0000-4000-8000-00000000000{number}") for number in (1, 2))
OTHERS = to_group("77777777-0000-4000-8000-000000000004")
NOT_STAFF = to_group("77777777-0000-4000-8000-000000000003", excluded=True)
WANTED = [EVERYBODY, NOT_STAFF]
DURING = [PILOTS, KIOSKS]  # what an administrator made of it


def reassign(simulator: RunningSimulator, directory: str, remote_id: str, wanted: list[Json]) -> None:
    """Assign the profile anew, as an administrator does."""
    with simulator.graph(directory) as graph:
        path = f"{PATH}/{remote_id}/assignments"
        for held in graph.get(path).raise_for_status().json()["value"]:
            graph.delete(f"{path}/{held['id']}").raise_for_status()
        for one in wanted:
            graph.post(path, json=one).raise_for_status()


async def assigned(simulator: RunningSimulator, directory: str) -> list[Json]:
    """Who gets the profile now."""
    [held] = (await captured(simulator, directory, KEY)).objects.values()
    return normalised_assignments(held.assignments)


async def a_reassigned_profile(opened: Lab, simulator: RunningSimulator) -> tuple[RestoreLab, str, RunRecord]:
    """A profile that was backed up and then assigned to others; the preview plans the way back."""
    directory = simulator.new_tenant()
    groups = [{"id": one["target"]["groupId"], "displayName": f"Group {one}"} for one in (PILOTS, KIOSKS, NOT_STAFF)]
    order = {"objects": groups, "collection": "groups", "keep_ids": True}
    simulator.admin("POST", f"/tenants/{directory}/objects", order)
    fill(simulator, directory, KEY)
    [(_, remote_id)] = (await captured(simulator, directory, KEY)).objects
    reassign(simulator, directory, remote_id, WANTED)
    world = await a_world(opened, simulator, directory)
    world.tenant = await captured(simulator, directory, KEY)
    set_id = await world.back_up()
    reassign(simulator, directory, remote_id, DURING)
    preview = await world.preview(set_id)
    assert set((await world.actions(preview)).values()) == {"update"}
    return world, directory, preview


async def a_deletion(opened: Lab, simulator: RunningSimulator) -> tuple[RestoreLab, str, RunRecord]:
    """A profile that a restore created and assigned; the preview of its undo plans to delete it."""
    directory = simulator.new_tenant()
    fill(simulator, directory, KEY)
    world = await a_world(opened, simulator, directory)
    world.tenant = await captured(simulator, directory, KEY)
    set_id = await world.back_up()
    [(_, remote_id)] = world.tenant.objects
    reassign(simulator, directory, remote_id, [])
    with simulator.graph(directory) as graph:
        graph.delete(f"{PATH}/{remote_id}").raise_for_status()
    preview = await world.undo(await world.execute(await world.preview(set_id)))
    assert set((await world.actions(preview)).values()) == {"delete"}
    return world, directory, preview


async def outcome(world: RestoreLab, run: RunRecord) -> tuple[str, str | None]:
    [only] = (await world.outcomes(run)).values()
    return only


@pytest.mark.parametrize("later", [[], [OTHERS]], ids=["nobody", "somebody"])
async def test_a_retry_goes_on_with_assignments_unless_somebody_assigned_it_since(
    opened: Lab, simulator: RunningSimulator, later: list[Json]
) -> None:
    world, directory, preview = await a_reassigned_profile(opened, simulator)
    order = {"harm": "status", "status": 503, "tenant": directory, "method": "POST|DELETE", "path": "/assignments"}
    simulator.admin("POST", "/faults", {**order, "skip": 1, "times": 100})
    run = await world.execute(preview)
    assert await outcome(world, run) == ("failed", "restore.verify_failed")
    simulator.admin("DELETE", "/faults")
    half = await assigned(simulator, directory)
    [(_, remote_id)] = (await captured(simulator, directory, KEY)).objects
    with simulator.graph(directory) as graph:
        for one in later:
            graph.post(f"{PATH}/{remote_id}/assignments", json=one).raise_for_status()

    again = await retried(world, run)

    expected = [*half, OTHERS] if later else WANTED
    assert (await outcome(world, again))[0] == ("unknown" if later else "applied_updated")
    assert await assigned(simulator, directory) == normalised_assignments(expected)


@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize(
    "harm",
    [
        {"harm": "status", "status": 429},
        {"harm": "status", "status": 503},
        {"harm": "drop_before"},
        {"harm": "drop_after"},
    ],
    ids=lambda harm: str(harm.get("status", harm["harm"])),
)
async def test_a_restore_that_is_stopped_between_two_assignments_goes_on_from_there(
    opened: Lab, simulator: RunningSimulator, harm: dict[str, Any], after: int
) -> None:
    world, directory, preview = await a_reassigned_profile(opened, simulator)
    order = {**harm, "tenant": directory, "method": "POST|DELETE", "path": "/assignments", "skip": after, "times": 1}
    simulator.admin("POST", "/faults", order)
    mark = simulator.last_seq()

    run = await world.execute(preview)

    assert await outcome(world, run) == ("applied_updated", None)
    assert await assigned(simulator, directory) == normalised_assignments(WANTED)
    entries = [entry for entry in simulator.journal(mark) if entry.tenant == directory]
    assert [entry.fault for entry in entries if entry.fault]
    calls = [entry.method for entry in entries if entry.effective]
    assert calls == ["POST", "DELETE", "DELETE", "POST"]  # the exclusion first, everybody last, nothing twice


async def test_the_tenants_refusal_in_the_middle_reaches_fewer_people_and_no_others(
    opened: Lab, simulator: RunningSimulator
) -> None:
    world, directory, preview = await a_reassigned_profile(opened, simulator)
    order = {"harm": "status", "status": 400, "tenant": directory, "method": "POST", "path": "/assignments", "skip": 1}
    simulator.admin("POST", "/faults", order)

    run = await world.execute(preview)

    assert (await outcome(world, run))[0] == "failed"
    assert await assigned(simulator, directory) == normalised_assignments([NOT_STAFF])


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        ([NOT_STAFF], "applied_updated"),  # what is left to do adds to it only
        ([PILOTS, NOT_STAFF], "unknown"),  # who is to say that the pilots are not somebody else's, of a minute ago?
    ],
    ids=["all taken away", "something left"],
)
async def test_a_worker_that_died_between_two_assignments_leaves_what_its_heir_can_judge_or_a_person_must(
    opened: Lab, simulator: RunningSimulator, left: list[Json], expected: str
) -> None:
    world, directory, preview = await a_reassigned_profile(opened, simulator)
    simulator.admin("POST", "/faults", {"harm": "status", "status": 503, "tenant": directory, "method": "GET"})
    run = await world.slice(await world.start(preview), slice_items=1)
    [label] = await world.items(run)
    [(_, remote_id)] = (await captured(simulator, directory, KEY)).objects
    await world.die_in_intent(run, label, step="assign", remote_id=remote_id)
    reassign(simulator, directory, remote_id, left)

    run = await world.finished(run)

    assert (await outcome(world, run))[0] == expected


@pytest.mark.parametrize("later", [[], [OTHERS]], ids=["nobody", "somebody"])
async def test_a_deletion_that_the_tenant_refused_is_not_repeated_once_somebody_uses_the_profile(
    opened: Lab, simulator: RunningSimulator, later: list[Json]
) -> None:
    world, directory, preview = await a_deletion(opened, simulator)
    order = {"harm": "status", "status": 400, "tenant": directory, "method": "DELETE", "path": f"{PATH}/[^/]+$"}
    simulator.admin("POST", "/faults", order)
    undone = await world.execute(preview)
    assert await outcome(world, undone) == ("failed", "graph.bad_request")
    [(_, remote_id)] = (await captured(simulator, directory, KEY)).objects
    reassign(simulator, directory, remote_id, later)

    again = await retried(world, undone, undo_of=undone.undo_of)

    assert (await outcome(world, again))[0] == ("unknown" if later else "applied_deleted")
    assert len((await captured(simulator, directory, KEY)).objects) == len(later)


@pytest.mark.parametrize(
    "harm", [{}, {"harm": "status", "status": 429}, {"harm": "status", "status": 503}, {"harm": "drop_after"}]
)
async def test_an_undo_deletes_a_profile_that_was_created_although_it_is_assigned(
    opened: Lab, simulator: RunningSimulator, harm: dict[str, Any]
) -> None:
    """The service deletes nothing that is assigned; stopped in the middle, the deletion goes on from there."""
    world, directory, preview = await a_deletion(opened, simulator)
    if harm:
        order = {**harm, "tenant": directory, "method": "DELETE", "path": "/assignments", "skip": 1, "times": 1}
        simulator.admin("POST", "/faults", order)

    undone = await world.execute(preview)

    assert await outcome(world, undone) == ("applied_deleted", None)
    assert not (await captured(simulator, directory, KEY)).objects
