from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from shared.domain.errors import (
    ConflictError,
    HalfWrittenError,
    PermanentError,
    RunFatalError,
    SafeCode,
    ThrottledError,
    TransientError,
)
from shared.domain.runs import RunStatus, WaitReason
from shared.ports import RunRecord
from tests.support.fake_writable_tenant import FakeTenant, lost_after, lost_before, raising
from tests.support.restore_lab import ALL_DEVICES, RestoreLab, a_filter, a_policy, to_group

KIND = "deviceConfiguration"
FILTER = "assignmentFilter"


async def a_lost_policy(world: RestoreLab) -> tuple[UUID, RunRecord]:
    """Back one assigned policy up, delete it, preview: the plan is to create and assign it."""
    policy = world.tenant.add(KIND, a_policy("Disk", description="a"), [ALL_DEVICES])
    set_id = await world.back_up()
    del world.tenant.objects[KIND, policy]
    return set_id, await world.preview(set_id)


async def a_changed_policy(world: RestoreLab) -> tuple[str, RunRecord]:
    """Back one assigned policy up, change payload and assignments, preview: the plan is to update and assign it."""
    policy = world.tenant.add(KIND, a_policy("Disk", description="a"), [ALL_DEVICES])
    set_id = await world.back_up()
    stored = world.tenant.objects[KIND, policy]
    stored.payload["description"], stored.assignments = "b", []
    return policy, await world.preview(set_id)


def writes(tenant: FakeTenant) -> list[str]:
    return [write.method for write in tenant.journal]


async def test_a_plan_is_carried_out_and_a_second_one_finds_nothing_to_do(world: RestoreLab) -> None:
    set_id, preview = await a_lost_policy(world)
    changed = world.tenant.add(KIND, a_policy("Other"))
    run = await world.execute(preview)
    assert run.status is RunStatus.SUCCEEDED
    assert await world.outcomes(run) == {"Disk": ("applied_created", None)}
    assert writes(world.tenant) == ["create", "assign"]
    assert run.results == {"outcomes": {"applied_created": 1}, "failures": []}
    again = await world.preview(set_id)
    assert await world.actions(again) == {"Disk": "unchanged"}
    assert await world.outcomes(await world.execute(again)) == {"Disk": ("unchanged", None)}
    assert len(world.tenant.journal) == 2
    assert (KIND, changed) in world.tenant.objects


async def test_every_write_is_tagged_with_run_item_and_step(world: RestoreLab) -> None:
    _, preview = await a_lost_policy(world)
    run = await world.execute(preview)
    item = (await world.items(run))["Disk"]
    assert [(write.tag.run_id, write.tag.item_id, write.tag.step) for write in world.tenant.journal] == [
        (run.id, item["item_id"], "write"),
        (run.id, item["item_id"], "assign"),
    ]


async def test_what_the_backup_does_not_name_goes_back_to_its_default(world: RestoreLab) -> None:
    """The preview says that it would be gone, and an update leaves alone what it does not name."""
    elsewhere = FakeTenant(prefix="other")
    elsewhere.add(KIND, a_policy("Disk", enabled=True))
    set_id = await world.back_up(elsewhere)
    mine = world.tenant.add(KIND, a_policy("Disk", description="Somebody's note", roleScopeTagIds=["0", "5"]))

    run = await world.execute(await world.preview(set_id))

    assert await world.outcomes(run) == {"Disk": ("applied_updated", None)}
    payload = world.tenant.objects[KIND, mine].payload
    assert (payload["description"], payload["roleScopeTagIds"]) == ("", ["0"])


async def test_executing_one_preview_twice_writes_once(world: RestoreLab) -> None:
    _, preview = await a_lost_policy(world)
    await world.execute(preview)
    second = await world.execute(preview)
    assert await world.outcomes(second) == {"Disk": ("blocked", "restore.plan_changed")}
    assert writes(world.tenant) == ["create", "assign"]


@pytest.mark.parametrize("drift", ["payload", "assignments", "deleted"])
async def test_drift_blocks_an_update_before_any_write(world: RestoreLab, drift: str) -> None:
    policy, preview = await a_changed_policy(world)
    stored = world.tenant.objects[KIND, policy]
    if drift == "payload":
        stored.payload["description"] = "c"
    elif drift == "assignments":
        stored.assignments = [to_group("g9")]
    else:
        del world.tenant.objects[KIND, policy]
    run = await world.execute(preview)
    assert await world.outcomes(run) == {"Disk": ("blocked", "restore.plan_changed")}
    assert world.tenant.journal == []


async def test_something_that_appeared_meanwhile_blocks_a_create(world: RestoreLab) -> None:
    _, preview = await a_lost_policy(world)
    world.tenant.add(KIND, a_policy("Disk"))
    assert await world.outcomes(await world.execute(preview)) == {"Disk": ("blocked", "restore.plan_changed")}
    assert world.tenant.journal == []


async def test_drift_of_an_unchanged_object_is_told(world: RestoreLab) -> None:
    policy = world.tenant.add(KIND, a_policy("Disk"))
    preview = await world.preview(await world.back_up())
    world.tenant.objects[KIND, policy].payload["description"] = "drifted"
    assert await world.outcomes(await world.execute(preview)) == {"Disk": ("blocked", "restore.plan_changed")}


async def test_what_the_preview_skipped_or_blocked_keeps_its_code(world: RestoreLab) -> None:
    old = world.tenant.add(KIND, a_policy("Disk"))
    base = {"name": "Base", "technologies": "mdm", "settings": [], "templateReference": {"templateFamily": "baseline"}}
    baseline = world.tenant.add("securityBaselinePolicy", base)
    set_id = await world.back_up()
    del world.tenant.objects[KIND, old]
    world.tenant.objects["securityBaselinePolicy", baseline].payload["description"] = "drifted"
    world.tenant.add(KIND, a_policy("Disk"))
    world.tenant.add(KIND, a_policy("Disk"))
    run = await world.execute(await world.preview(set_id))
    assert await world.outcomes(run) == {
        "Disk": ("blocked", "restore.ambiguous_target"),
        "Base": ("skipped", "restore.preview_only"),
    }
    assert world.tenant.journal == []


# --- lost answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("fault", [lost_after, lost_before])
@pytest.mark.parametrize("plan", ["create", "update"])
async def test_a_lost_answer_is_probed_and_each_write_happens_once(
    world: RestoreLab, plan: str, fault: Any, at: int
) -> None:
    _, preview = await (a_lost_policy(world) if plan == "create" else a_changed_policy(world))
    world.tenant.faults = [None] * at + [fault]
    run = await world.execute(preview)
    expected = "applied_created" if plan == "create" else "applied_updated"
    assert {label: outcome for label, (outcome, _) in (await world.outcomes(run)).items()} == {"Disk": expected}
    assert writes(world.tenant) == [plan, "assign"]
    assert len(world.tenant.refs(KIND)) == 1


async def test_a_lost_update_that_cannot_be_judged_is_unknown(world: RestoreLab) -> None:
    policy, preview = await a_changed_policy(world)

    def meddle(perform: Any) -> None:
        world.tenant.objects[KIND, policy].payload["description"] = "somebody else"
        raise TransientError(SafeCode.GRAPH_UNAVAILABLE)

    world.tenant.faults = [meddle]
    run = await world.execute(preview)
    assert await world.outcomes(run) == {"Disk": ("unknown", "restore.outcome_unknown")}
    assert world.tenant.journal == []


async def test_a_lost_create_with_two_equal_candidates_is_unknown(world: RestoreLab) -> None:
    _, preview = await a_lost_policy(world)

    def meddle(perform: Any) -> None:
        perform()
        world.tenant.add(KIND, a_policy("Disk", description="a"))
        raise TransientError(SafeCode.GRAPH_UNAVAILABLE)

    world.tenant.faults = [meddle]
    assert await world.outcomes(await world.execute(preview)) == {"Disk": ("unknown", "restore.outcome_unknown")}
    assert writes(world.tenant) == ["create"]


async def test_a_lost_assign_that_cannot_be_judged_is_unknown(world: RestoreLab) -> None:
    policy, preview = await a_changed_policy(world)

    def meddle(perform: Any) -> None:
        world.tenant.objects[KIND, policy].assignments = [to_group("g9")]
        raise TransientError(SafeCode.GRAPH_UNAVAILABLE)

    world.tenant.faults = [None, meddle]
    assert await world.outcomes(await world.execute(preview)) == {"Disk": ("unknown", "restore.outcome_unknown")}
    assert writes(world.tenant) == ["update"]


async def test_an_answer_that_stays_lost_ends_unknown_and_not_failed(world: RestoreLab) -> None:
    """Neither the write's answer nor a probe's comes, attempt after attempt."""
    _, preview = await a_changed_policy(world)

    def cut_off(perform: Any) -> None:
        perform()
        world.tenant.read_faults = [TransientError(SafeCode.GRAPH_UNAVAILABLE)] * 100
        raise TransientError(SafeCode.GRAPH_UNAVAILABLE)

    world.tenant.faults = [cut_off]
    assert await world.outcomes(await world.execute(preview)) == {"Disk": ("unknown", "restore.outcome_unknown")}
    assert writes(world.tenant) == ["update"]


async def test_an_intent_outlives_a_failed_probe(world: RestoreLab) -> None:
    _, preview = await a_changed_policy(world)

    def cut_off(perform: Any) -> None:
        perform()
        world.tenant.read_faults = [TransientError(SafeCode.GRAPH_UNAVAILABLE)]
        raise TransientError(SafeCode.GRAPH_UNAVAILABLE)

    world.tenant.faults = [cut_off]
    run = await world.slice(await world.start(preview), slice_items=1)
    assert (await world.items(run))["Disk"]["state"] == "intent"
    assert (await world.outcomes(await world.finished(run)))["Disk"][0] == "applied_updated"
    assert writes(world.tenant) == ["update", "assign"]


async def test_a_throttled_write_is_sent_again_once(world: RestoreLab) -> None:
    _, preview = await a_lost_policy(world)
    world.tenant.faults = [raising(ThrottledError(retry_after=0.0)), None, raising(ThrottledError(retry_after=0.0))]
    run = await world.execute(preview)
    assert {outcome for outcome, _ in (await world.outcomes(run)).values()} == {"applied_created"}
    assert writes(world.tenant) == ["create", "assign"]


async def test_a_create_that_was_refused_is_pending_again_and_needs_no_probe(world: RestoreLab) -> None:
    _, preview = await a_lost_policy(world)
    world.grace = timedelta(hours=1)
    world.tenant.faults = [raising(ThrottledError(retry_after=0.0))]
    run = await world.slice(await world.start(preview))
    assert (await world.items(run))["Disk"]["state"] == "pending"
    world.tenant.lists.clear()

    run = await world.finished(run)

    assert (await world.outcomes(run))["Disk"][0] == "applied_created"
    assert world.tenant.lists == [KIND]  # what it has to look at before any create


async def test_a_write_refused_by_what_stands_before_the_service_is_probed_first(world: RestoreLab) -> None:
    _, preview = await a_lost_policy(world)

    def refuse_but_do(perform: Any) -> None:
        perform()
        raise ThrottledError(retry_after=0.0, in_doubt=True)

    world.tenant.faults = [refuse_but_do]
    run = await world.slice(await world.start(preview))
    assert (await world.items(run))["Disk"]["state"] == "intent"
    run = await world.finished(run)

    assert (await world.outcomes(run))["Disk"][0] == "applied_created"
    assert writes(world.tenant) == ["create", "assign"]


@pytest.mark.parametrize("error", [ThrottledError(retry_after=0.0), TransientError(SafeCode.GRAPH_UNAVAILABLE)])
async def test_a_read_back_that_fails_is_repeated_by_id_without_waiting_or_listing(
    world: RestoreLab, error: TransientError
) -> None:
    _, preview = await a_lost_policy(world)
    world.grace = timedelta(hours=1)
    start = await world.start(preview)

    def unreadable(perform: Any) -> Any:
        world.tenant.read_faults = [error]
        return perform()

    world.tenant.faults = [unreadable, unreadable]
    run = await world.finished(start, slice_items=1)

    row = (await world.items(run))["Disk"]
    assert (row["outcome"], row["remote_id"]) == ("applied_created", world.tenant.refs(KIND)[0].remote_id)
    assert writes(world.tenant) == ["create", "assign"]
    assert world.tenant.lists.count(KIND) == 2  # one by the preview, one before the create


async def test_a_throttled_probe_does_not_make_a_lost_write_count_as_refused(world: RestoreLab) -> None:
    """It may still be on its way: it waits until that is over, as without the probe."""
    _, preview = await a_changed_policy(world)
    world.grace = timedelta(hours=1)

    def cut_off(perform: Any) -> None:
        world.tenant.read_faults = [ThrottledError(retry_after=0.0)]
        raise TransientError(SafeCode.GRAPH_UNAVAILABLE)

    world.tenant.faults = [cut_off]
    run = await _due(world, await world.slice(await world.start(preview)))
    run = await world.slice(run)

    row = (await world.items(run))["Disk"]
    assert (row["state"], row["not_before"] > row["updated_at"]) == ("intent", True)
    assert world.tenant.journal == []


async def test_creates_in_doubt_share_one_listing(world: RestoreLab) -> None:
    lost = [world.tenant.add(KIND, a_policy(f"Disk {number}")) for number in range(6)]
    set_id = await world.back_up()
    for one in lost:
        del world.tenant.objects[KIND, one]
    preview = await world.preview(set_id)
    world.tenant.faults = [raising(ThrottledError(retry_after=0.0, in_doubt=True))] * 4
    run = await world.slice(await world.start(preview), concurrency=4)
    assert Counter(row["state"] for row in (await world.items(run)).values()) == {"intent": 4, "pending": 2}
    world.tenant.lists.clear()

    run = await world.finished(run)

    assert run.counts.succeeded == 6
    assert world.tenant.lists == [KIND]
    assert len(world.tenant.refs(KIND)) == 6


# --- a worker died ---------------------------------------------------------------------------------------------------


async def a_dead_worker(world: RestoreLab, preview: RunRecord, **columns: Any) -> RunRecord:
    """Expand an execution and leave its item as a worker that died in its intent does."""
    world.tenant.read_faults = [TransientError(SafeCode.GRAPH_UNAVAILABLE)]
    run = await world.slice(await world.start(preview), slice_items=1)
    world.tenant.read_faults = []
    await world.die_in_intent(run, "Disk", **columns)
    return run


@pytest.mark.parametrize("was_applied", [True, False])
async def test_an_open_intent_of_an_update_is_probed(world: RestoreLab, was_applied: bool) -> None:  # noqa: FBT001  parametrised
    policy, preview = await a_changed_policy(world)
    run = await a_dead_worker(world, preview, remote_id=policy)
    if was_applied:
        world.tenant.objects[KIND, policy].payload["description"] = "a"
    await world.finished(run)
    assert (await world.outcomes(run))["Disk"][0] == "applied_updated"
    assert writes(world.tenant) == (["assign"] if was_applied else ["update", "assign"])


@pytest.mark.parametrize("was_applied", [True, False])
async def test_an_open_intent_of_a_create_is_probed(world: RestoreLab, was_applied: bool) -> None:  # noqa: FBT001  parametrised
    _, preview = await a_lost_policy(world)
    run = await a_dead_worker(world, preview)
    made = world.tenant.add(KIND, a_policy("Disk", description="a")) if was_applied else None
    await world.finished(run)
    row = (await world.items(run))["Disk"]
    assert row["outcome"] == "applied_created"
    assert made is None or row["remote_id"] == made
    assert writes(world.tenant) == (["assign"] if was_applied else ["create", "assign"])


async def test_an_open_intent_whose_references_cannot_be_read_is_for_a_person_and_has_not_failed(
    world: RestoreLab,
) -> None:
    elsewhere = FakeTenant(prefix="other")
    chosen = elsewhere.add(FILTER, a_filter("Laptops"))
    elsewhere.add(KIND, a_policy("Disk"), [to_group("g1", filter_id=chosen)])
    world.tenant.add(FILTER, a_filter("Laptops"))
    preview = await world.preview(await world.back_up(elsewhere), selector={"policy_types": [KIND]})
    run = await a_dead_worker(world, preview)
    world.tenant.read_faults = [PermanentError(SafeCode.AUTH_PERMISSION_MISSING)]

    run = await world.finished(run)

    assert await world.outcomes(run) == {"Disk": ("unknown", "restore.outcome_unknown")}


async def test_an_open_create_beside_an_object_that_differs_is_for_a_person(world: RestoreLab) -> None:
    _, preview = await a_lost_policy(world)
    run = await a_dead_worker(world, preview)
    world.tenant.add(KIND, a_policy("Disk", description="another"))
    await world.finished(run)
    assert await world.outcomes(run) == {"Disk": ("unknown", "restore.outcome_unknown")}
    assert world.tenant.journal == []


async def test_a_young_intent_is_left_alone_until_its_call_must_be_over(world: RestoreLab) -> None:
    policy, preview = await a_changed_policy(world)
    run = await a_dead_worker(world, preview, remote_id=policy)
    await world.lab.rows("UPDATE restore_run_items SET intent_at = clock_timestamp(), error_code = NULL RETURNING 1")
    world.grace = world.grace.__class__(seconds=60)
    run = await world.slice(run)
    row = (await world.items(run))["Disk"]
    assert row["state"] == "intent"
    assert row["not_before"] > row["updated_at"]
    assert world.tenant.journal == []


# --- verification ----------------------------------------------------------------------------------------------------


async def test_a_write_without_effect_fails_its_verification_and_is_not_repeated(world: RestoreLab) -> None:
    policy, preview = await a_changed_policy(world)

    def ignore(perform: Any) -> Any:
        answer = perform()
        world.tenant.objects[KIND, policy].payload["description"] = "b"
        return answer

    world.tenant.faults = [ignore]
    run = await world.execute(preview)
    assert await world.outcomes(run) == {"Disk": ("failed", "restore.verify_failed")}
    assert writes(world.tenant) == ["update"]


async def test_a_write_that_shows_late_is_looked_for_and_not_repeated(world: RestoreLab) -> None:
    policy, preview = await a_changed_policy(world)

    def hide(perform: Any) -> Any:
        answer = perform()
        world.tenant.objects[KIND, policy].payload["description"] = "b"
        return answer

    world.tenant.faults = [hide]
    run = await world.slice(await world.start(preview), slice_items=1)
    assert (await world.items(run))["Disk"]["state"] == "intent"
    world.tenant.objects[KIND, policy].payload["description"] = "a"
    run = await world.finished(await _due(world, run))
    assert (await world.outcomes(run))["Disk"][0] == "applied_updated"
    assert writes(world.tenant) == ["update", "assign"]


async def test_a_half_written_object_is_completed_by_an_update(world: RestoreLab) -> None:
    _, preview = await a_lost_policy(world)

    def half(perform: Any) -> None:
        made = perform()
        world.tenant.objects[KIND, made].payload["description"] = ""
        raise HalfWrittenError(TransientError(SafeCode.GRAPH_UNAVAILABLE), made)

    world.tenant.faults = [half]
    run = await world.execute(preview)
    assert (await world.outcomes(run))["Disk"][0] == "applied_created"
    assert writes(world.tenant) == ["create", "update", "assign"]
    assert len(world.tenant.refs(KIND)) == 1


async def test_the_rest_of_a_half_written_object_waits_as_often_as_it_is_throttled(world: RestoreLab) -> None:
    """More often than an item has attempts, and as long as the tenant asks, although young intents wait."""
    _, preview = await a_lost_policy(world)
    world.grace = timedelta(hours=1)

    def half(perform: Any) -> None:
        made = perform()
        world.tenant.objects[KIND, made].payload["description"] = ""
        raise HalfWrittenError(ThrottledError(retry_after=7.5), made)

    world.tenant.faults = [half, *[half] * 9]
    run = await world.slice(await world.start(preview))
    first = (await world.items(run))["Disk"]
    assert (first["state"], first["attempt"]) == ("intent", 0)
    assert (first["not_before"] - first["updated_at"]).total_seconds() == pytest.approx(7.5, abs=0.5)
    assert run.wait_reason is WaitReason.THROTTLED
    run = await world.finished(await _due(world, run))

    assert (await world.outcomes(run))["Disk"][0] == "applied_created"
    assert (await world.items(run))["Disk"]["attempt"] == 1
    assert writes(world.tenant) == ["create", *["update"] * 10, "assign"]
    assert len(world.tenant.refs(KIND)) == 1


async def test_a_half_written_object_that_meets_a_conflict_is_not_called_untouched(world: RestoreLab) -> None:
    """The refusal is of the second call only: something of the object is there, and an undo has to know of it."""
    _, preview = await a_lost_policy(world)

    def half(perform: Any) -> None:
        made = perform()
        world.tenant.objects[KIND, made].payload["description"] = ""
        raise HalfWrittenError(TransientError(SafeCode.GRAPH_UNAVAILABLE), made)

    world.tenant.faults = [half, raising(ConflictError(SafeCode.GRAPH_CONFLICT))]
    run = await world.execute(preview)

    assert await world.outcomes(run) == {"Disk": ("failed", "restore.verify_failed")}
    assert set(await world.items(await world.undo(run))) == {"Disk"}


async def test_a_conflict_after_a_lost_write_leaves_its_outcome_to_a_person(world: RestoreLab) -> None:
    _, preview = await a_changed_policy(world)
    world.tenant.faults = [lost_before, raising(ConflictError(SafeCode.GRAPH_CONFLICT))]

    run = await world.execute(preview)

    assert await world.outcomes(run) == {"Disk": ("unknown", "restore.outcome_unknown")}


async def test_a_part_that_may_still_be_on_its_way_is_waited_for(world: RestoreLab) -> None:
    _, preview = await a_lost_policy(world)
    world.grace = timedelta(hours=1)

    def half(perform: Any) -> None:
        raise HalfWrittenError(ThrottledError(retry_after=0.0, in_doubt=True), perform())

    world.tenant.faults = [half]
    run = await _due(world, await world.slice(await world.start(preview)))
    run = await world.slice(run)

    assert (await world.items(run))["Disk"]["state"] == "intent"
    assert writes(world.tenant) == ["create"]


async def _due(world: RestoreLab, run: RunRecord) -> RunRecord:
    await world.lab.rows("UPDATE restore_run_items SET not_before = NULL RETURNING 1")
    return run


# --- foundations and references --------------------------------------------------------------------------------------


async def test_references_follow_foundations_that_were_created_anew(world: RestoreLab) -> None:
    elsewhere = FakeTenant(prefix="other")
    tag = elsewhere.add("roleScopeTag", {"displayName": "Berlin"}, remote_id="4")
    chosen = elsewhere.add(FILTER, a_filter("Laptops", roleScopeTags=["0", tag]))
    to_filter = {"target": {**ALL_DEVICES["target"], "deviceAndAppManagementAssignmentFilterId": chosen}}
    to_filter["target"]["deviceAndAppManagementAssignmentFilterType"] = "include"
    elsewhere.add(KIND, a_policy("Disk", roleScopeTagIds=["0", tag]), [to_filter])
    set_id = await world.back_up(elsewhere)

    run = await world.execute(await world.preview(set_id))

    assert Counter(outcome for outcome, _ in (await world.outcomes(run)).values()) == {"applied_created": 3}
    new_tag = world.tenant.refs("roleScopeTag")[0].remote_id
    new_filter = world.tenant.refs(FILTER)[0].remote_id
    disk = world.tenant.objects[KIND, world.tenant.refs(KIND)[0].remote_id]
    assert world.tenant.objects[FILTER, new_filter].payload["roleScopeTags"] == ["0", new_tag]
    assert disk.payload["roleScopeTagIds"] == ["0", new_tag]
    assert disk.assignments[0]["target"]["deviceAndAppManagementAssignmentFilterId"] == new_filter
    assert set((await world.actions(await world.preview(set_id))).values()) == {"unchanged"}


async def test_a_policy_is_not_touched_when_its_foundation_failed(world: RestoreLab) -> None:
    elsewhere = FakeTenant(prefix="other")
    chosen = elsewhere.add(FILTER, a_filter("Laptops"))
    to_filter = {"target": {**ALL_DEVICES["target"], "deviceAndAppManagementAssignmentFilterId": chosen}}
    elsewhere.add(KIND, a_policy("Disk"), [to_filter])
    preview = await world.preview(await world.back_up(elsewhere))
    world.tenant.add(FILTER, a_filter("Laptops"))
    outcomes = await world.outcomes(await world.execute(preview))
    assert outcomes == {
        "Laptops": ("blocked", "restore.plan_changed"),
        "Disk": ("blocked", "restore.mapping_unsafe"),
    }
    assert world.tenant.journal == []


async def test_a_policy_whose_groups_are_unknown_is_restored_without_any_assignment(world: RestoreLab) -> None:
    elsewhere = FakeTenant(prefix="other")
    elsewhere.add(KIND, a_policy("Disk"), [ALL_DEVICES, to_group("g1", excluded=True)])
    run = await world.execute(await world.preview(await world.back_up(elsewhere)))
    row = (await world.items(run))["Disk"]
    assert (row["outcome"], row["error_code"]) == ("applied_created", "restore.mapping_unsafe")
    assert row["error_context"] == {"reason": "assignments_skipped_unsafe"}
    assert writes(world.tenant) == ["create"]


# --- what an execution refuses ---------------------------------------------------------------------------------------


async def test_a_plan_that_was_changed_after_its_preview_is_not_executed(world: RestoreLab) -> None:
    _, preview = await a_changed_policy(world)
    tampered = (
        """UPDATE restore_run_items SET plan = plan || '{"target_id": "another"}' WHERE run_id = :run RETURNING 1"""
    )
    await world.lab.rows(tampered, run=preview.id)
    run = await world.execute(preview)
    assert (run.status, run.error_code) == (RunStatus.FAILED, SafeCode.RESTORE_PLAN_CHANGED)
    assert world.tenant.journal == []


async def test_a_confirmed_hash_that_is_not_the_plans_is_refused(world: RestoreLab) -> None:
    _, preview = await a_changed_policy(world)
    run = await world.execute(preview, metadata={"plan_hash": "0" * 64})
    assert (run.status, run.error_code) == (RunStatus.FAILED, SafeCode.RESTORE_PLAN_CHANGED)


async def test_an_execution_needs_a_finished_preview(world: RestoreLab) -> None:
    policy = world.tenant.add(KIND, a_policy("Disk"))
    set_id = await world.back_up()
    world.tenant.objects[KIND, policy].payload["description"] = "b"
    unfinished = await world._add_run("restore.preview", set_id)
    run = await world.execute(unfinished)
    assert (run.status, run.error_code) == (RunStatus.FAILED, SafeCode.RESTORE_PREVIEW_REQUIRED)
    assert world.tenant.journal == []


async def test_a_preview_of_another_backup_set_is_refused(world: RestoreLab) -> None:
    _, preview = await a_changed_policy(world)
    other = await world.back_up()
    run = await world.execute(preview, backup_set_id=other)
    assert (run.status, run.error_code) == (RunStatus.FAILED, SafeCode.SCOPE_TENANT_MISMATCH)
    assert world.tenant.journal == []


async def test_a_revoked_sign_in_ends_the_run_and_says_unknown_only_where_a_write_may_have_been(
    world: RestoreLab,
) -> None:
    _, preview = await a_changed_policy(world)
    world.tenant.faults = [raising(RunFatalError(SafeCode.AUTH_TOKEN_INVALID))]
    run = await world.execute(preview)
    assert (run.status, run.error_code) == (RunStatus.FAILED, SafeCode.AUTH_TOKEN_INVALID)
    assert (await world.outcomes(run))["Disk"][0] == "unknown"
