"""What a person chose in a preview is what the preview plans, and what its execution does."""

from uuid import UUID

import pytest

from services.restore_worker.live import MAX_CHOICES
from shared.connectors.normalise import normalised_assignments
from shared.domain.restore_options import Assignments, Match, RestoreOptions, chosen
from shared.domain.runs import RunStatus
from tests.support.fake_writable_tenant import FakeTenant, lost_after
from tests.support.restore_lab import ALL_DEVICES, RestoreLab, a_filter, a_policy, to_group

KIND = "deviceConfiguration"
FILTER = "assignmentFilter"
TAG = "roleScopeTag"


def writes(tenant: FakeTenant) -> list[tuple[str, str]]:
    return [(write.method, write.remote_id) for write in tenant.journal]


def names(tenant: FakeTenant) -> list[str]:
    return sorted(ref.display_name for ref in tenant.refs(KIND))


async def a_drifted_and_a_lost_policy(world: RestoreLab) -> tuple[str, UUID]:
    """Back up `Disk`, which drifts, and `Edge`, which is lost; return the drifted one's id and the set's."""
    disk = world.tenant.add(KIND, a_policy("Disk", description="a"), [ALL_DEVICES])
    edge = world.tenant.add(KIND, a_policy("Edge"), [ALL_DEVICES])
    set_id = await world.back_up()
    world.tenant.objects[KIND, disk].payload["description"] = "drifted"
    world.tenant.objects[KIND, disk].assignments = [to_group("g1")]
    del world.tenant.objects[KIND, edge]
    return disk, set_id


# --- match -----------------------------------------------------------------------------------------------------------


async def test_create_only_leaves_what_is_there_alone_and_creates_what_is_gone(world: RestoreLab) -> None:
    disk, set_id = await a_drifted_and_a_lost_policy(world)
    preview = await world.preview_with(set_id, chosen(Match.CREATE_ONLY))
    plan = (await world.items(preview))["Disk"]["plan"]
    assert (plan["action"], plan["code"], plan["target_id"]) == ("skip", "restore.exists_already", disk)
    assert plan["patch"], "it still says what differs"

    run = await world.execute(preview)

    outcomes = await world.outcomes(run)
    assert outcomes == {"Disk": ("skipped", "restore.exists_already"), "Edge": ("applied_created", None)}
    assert [method for method, _ in writes(world.tenant)] == ["create", "assign"]
    assert world.tenant.objects[KIND, disk].payload["description"] == "drifted"


async def test_a_change_that_nobody_captured_is_not_overwritten_and_a_captured_one_is(world: RestoreLab) -> None:
    disk, set_id = await a_drifted_and_a_lost_policy(world)
    options = chosen(Match.UPDATE_IF_UNCHANGED)
    before = await world.preview_with(set_id, options)
    await world.capture()
    after = await world.preview_with(set_id, options)

    row = (await world.items(before))["Disk"]
    assert (row["plan"]["action"], row["error_code"]) == ("blocked", "restore.live_not_captured")
    assert await world.actions(after) == {"Disk": "update", "Edge": "create"}
    assert (await world.execute(after)).status is RunStatus.SUCCEEDED
    assert world.tenant.objects[KIND, disk].payload["description"] == "a"


async def test_captured_settings_do_not_excuse_assignments_that_nobody_captured(world: RestoreLab) -> None:
    disk, set_id = await a_drifted_and_a_lost_policy(world)
    await world.capture()
    world.tenant.objects[KIND, disk].assignments = [to_group("another")]

    both = await world.preview_with(set_id, chosen(Match.UPDATE_IF_UNCHANGED))
    without = await world.preview_with(set_id, chosen(Match.UPDATE_IF_UNCHANGED, Assignments.WITHOUT))

    assert (await world.items(both))["Disk"]["error_code"] == "restore.live_not_captured"
    assert (await world.actions(without))["Disk"] == "update"


async def test_a_copy_is_made_beside_the_living_object_and_gets_no_assignments(world: RestoreLab) -> None:
    disk, set_id = await a_drifted_and_a_lost_policy(world)
    preview = await world.preview_with(set_id, chosen(Match.COPY))
    assert await world.actions(preview) == {"Disk": "create", "Edge": "create"}

    run = await world.execute(preview)

    assert run.status is RunStatus.SUCCEEDED
    assert names(world.tenant) == ["Disk", "Disk (restored)", "Edge (restored)"]
    assert [method for method, _ in writes(world.tenant)] == ["create", "create"]
    assert world.tenant.objects[KIND, disk].payload["description"] == "drifted"
    copy = next(one for one in world.tenant.objects.values() if one.payload["displayName"] == "Disk (restored)")
    assert (copy.payload["description"], copy.assignments) == ("a", [])


async def test_a_copy_with_assignments_gets_those_of_the_backup(world: RestoreLab) -> None:
    _, set_id = await a_drifted_and_a_lost_policy(world)
    await world.execute(await world.preview_with(set_id, chosen(Match.COPY, Assignments.WITH, " 2")))
    copy = next(one for one in world.tenant.objects.values() if one.payload["displayName"] == "Disk 2")
    assert normalised_assignments(copy.assignments) == normalised_assignments([ALL_DEVICES])


async def test_a_copy_whose_name_is_taken_is_blocked_at_the_preview_and_if_it_is_taken_later(world: RestoreLab) -> None:
    _, set_id = await a_drifted_and_a_lost_policy(world)
    free = await world.preview_with(set_id, chosen(Match.COPY))
    world.tenant.add(KIND, a_policy("Disk (restored)"))
    taken = await world.preview_with(set_id, chosen(Match.COPY))

    run = await world.execute(free)

    row = (await world.items(taken))["Disk"]
    assert (row["plan"]["action"], row["error_code"]) == ("blocked", "restore.name_taken")
    assert (await world.outcomes(run))["Disk"] == ("blocked", "restore.plan_changed")
    assert names(world.tenant) == ["Disk", "Disk (restored)", "Edge (restored)"]


async def test_homonyms_of_the_backup_would_make_copies_of_one_name(world: RestoreLab) -> None:
    for description in ("a", "b"):
        world.tenant.add(KIND, a_policy("Disk", description=description))
    preview = await world.preview_with(await world.back_up(), chosen(Match.COPY))
    rows = await world.lab.rows("SELECT error_code FROM restore_run_items WHERE run_id = :run", run=preview.id)
    assert [row["error_code"] for row in rows] == ["restore.name_taken"] * 2


async def test_a_lost_answer_to_a_copy_is_probed_by_its_new_name(world: RestoreLab) -> None:
    world.tenant.add(KIND, a_policy("Disk"))
    preview = await world.preview_with(await world.back_up(), chosen(Match.COPY))
    world.tenant.faults = [lost_after]

    run = await world.execute(preview)

    assert run.status is RunStatus.SUCCEEDED
    assert names(world.tenant) == ["Disk", "Disk (restored)"]


# --- assignments -----------------------------------------------------------------------------------------------------


async def test_without_assignments_they_are_neither_compared_nor_written_nor_warned_of(world: RestoreLab) -> None:
    disk, set_id = await a_drifted_and_a_lost_policy(world)
    preview = await world.preview_with(set_id, chosen(assignments=Assignments.WITHOUT))
    plan = (await world.items(preview))["Disk"]["plan"]
    assert (plan["steps"], plan["assignments_patch"], plan["warnings"]) == (["write"], [], [])

    run = await world.execute(preview)

    assert run.status is RunStatus.SUCCEEDED
    assert {method for method, _ in writes(world.tenant)} == {"update", "create"}
    assert world.tenant.objects[KIND, disk].assignments == [to_group("g1")]


async def test_imported_assignments_that_are_left_out_on_purpose_are_nothing_to_warn_of(world: RestoreLab) -> None:
    elsewhere = FakeTenant(prefix="other")
    elsewhere.add(KIND, a_policy("Disk"), [to_group("g1")])
    preview = await world.preview_with(await world.back_up(elsewhere), chosen(assignments=Assignments.WITHOUT))
    assert (await world.items(preview))["Disk"]["plan"]["warnings"] == []


async def test_only_assignments_are_written_where_only_they_were_asked_for(world: RestoreLab) -> None:
    disk, set_id = await a_drifted_and_a_lost_policy(world)
    preview = await world.preview_with(set_id, chosen(assignments=Assignments.ONLY))
    items = await world.items(preview)
    assert (items["Disk"]["plan"]["steps"], items["Disk"]["plan"]["patch"]) == (["assign"], [])
    assert (items["Edge"]["plan"]["action"], items["Edge"]["error_code"]) == ("skip", "restore.target_missing")

    run = await world.execute(preview)

    assert (await world.outcomes(run))["Disk"] == ("applied_updated", None)
    assert writes(world.tenant) == [("assign", disk)]
    assert world.tenant.objects[KIND, disk].payload["description"] == "drifted"


async def test_assignments_that_cannot_be_mapped_block_where_nothing_else_was_asked_for(world: RestoreLab) -> None:
    elsewhere = FakeTenant(prefix="other")
    elsewhere.add(KIND, a_policy("Disk"), [to_group("g1")])
    world.tenant.add(KIND, a_policy("Disk"))
    preview = await world.preview_with(await world.back_up(elsewhere), chosen(assignments=Assignments.ONLY))
    assert (await world.items(preview))["Disk"]["error_code"] == "restore.mapping_unsafe"


@pytest.mark.parametrize("options", [chosen(Match.COPY, Assignments.WITH), chosen(assignments=Assignments.ONLY)])
async def test_a_foundation_is_mapped_to_the_existing_one_and_never_written(
    world: RestoreLab, options: RestoreOptions
) -> None:
    elsewhere = FakeTenant(prefix="other")
    theirs = elsewhere.add(TAG, {"displayName": "Berlin", "description": "theirs"})
    elsewhere.add(KIND, a_policy("Disk", roleScopeTagIds=[theirs]), [ALL_DEVICES])
    ours = world.tenant.add(TAG, {"displayName": "Berlin", "description": "ours"})
    if options.assignments is Assignments.ONLY:
        world.tenant.add(KIND, a_policy("Disk"))
    preview = await world.preview_with(await world.back_up(elsewhere), options)
    assert (await world.items(preview))["Berlin"]["error_code"] == "restore.exists_already"

    run = await world.execute(preview)

    outcomes = await world.outcomes(run)
    assert outcomes["Berlin"] == ("skipped", "restore.exists_already")
    assert outcomes["Disk"][1] is None
    assert world.tenant.objects[TAG, ours].payload["description"] == "ours"
    made = [one.payload for (kind, _), one in world.tenant.objects.items() if kind == KIND]
    if options.match is Match.COPY:
        assert made[0]["roleScopeTagIds"] == [ours]


async def test_a_filter_that_only_has_the_name_stands_for_nothing(world: RestoreLab) -> None:
    elsewhere = FakeTenant(prefix="other")
    theirs = elsewhere.add(FILTER, a_filter("Model A"))
    target = {"target": {**ALL_DEVICES["target"], "deviceAndAppManagementAssignmentFilterId": theirs}}
    target["target"]["deviceAndAppManagementAssignmentFilterType"] = "include"
    elsewhere.add(KIND, a_policy("Disk"), [target])
    world.tenant.add(FILTER, a_filter("Model A", '(device.model -ne "A")'))
    preview = await world.preview_with(await world.back_up(elsewhere), chosen(Match.CREATE_ONLY))

    run = await world.execute(preview)

    assert (await world.items(preview))["Disk"]["plan"]["warnings"] == ["restore.mapping_unsafe"]
    assert (await world.outcomes(run))["Disk"] == ("applied_created", "restore.mapping_unsafe")
    assert [method for method, _ in writes(world.tenant)] == ["create"]


async def test_a_foundation_that_changed_after_the_preview_blocks_those_who_rely_on_it(world: RestoreLab) -> None:
    tag = world.tenant.add(TAG, {"displayName": "Berlin", "description": "a"}, remote_id="7")
    disk = world.tenant.add(KIND, a_policy("Disk", roleScopeTagIds=["7"]))
    set_id = await world.back_up()
    world.tenant.objects[TAG, tag].payload["description"] = "b"
    del world.tenant.objects[KIND, disk]
    preview = await world.preview_with(set_id, chosen(Match.CREATE_ONLY))
    world.tenant.objects[TAG, tag].payload["description"] = "c"

    run = await world.execute(preview)

    assert {code for _, code in (await world.outcomes(run)).values()} == {
        "restore.plan_changed",
        "restore.mapping_unsafe",
    }
    assert world.tenant.journal == []


# --- targets ---------------------------------------------------------------------------------------------------------


async def homonyms(world: RestoreLab) -> tuple[list[str], UUID, UUID]:
    """Lose `Disk` and find two of its name; return these, the set and the backup item."""
    old = world.tenant.add(KIND, a_policy("Disk", description="a"))
    set_id = await world.back_up()
    del world.tenant.objects[KIND, old]
    changed = {"lastModifiedDateTime": "2026-03-02T09:30:00Z"}
    new = [world.tenant.add(KIND, a_policy("Disk", description=text, **changed)) for text in ("b", "c")]
    rows = await world.lab.rows("SELECT id FROM backup_items WHERE backup_set_id = :set", set=set_id)
    return new, set_id, rows[0]["id"]


async def test_an_ambiguous_item_shows_whom_it_may_be_and_a_target_tells(world: RestoreLab) -> None:
    new, set_id, item = await homonyms(world)
    plan = (await world.items(await world.preview(set_id)))["Disk"]["plan"]
    assert (plan["action"], plan["code"]) == ("blocked", "restore.ambiguous_target")
    assert plan["choices"] == [
        {"id": remote_id, "name": "Disk", "last_modified": "2026-03-02T09:30:00Z"} for remote_id in new
    ]

    preview = await world.preview_with(set_id, chosen(targets={item: new[1]}))
    run = await world.execute(preview)

    assert (await world.outcomes(run))["Disk"] == ("applied_updated", None)
    assert writes(world.tenant) == [("update", new[1])]
    assert world.tenant.objects[KIND, new[1]].payload["description"] == "a"


async def test_no_more_choices_are_read_than_a_person_would(world: RestoreLab) -> None:
    _, set_id, _ = await homonyms(world)
    for _ in range(MAX_CHOICES):
        world.tenant.add(KIND, a_policy("Disk"))
    plan = (await world.items(await world.preview(set_id)))["Disk"]["plan"]
    assert (plan["candidates"], len(plan["choices"])) == (MAX_CHOICES + 2, MAX_CHOICES)


@pytest.mark.parametrize("kind", [None, "deviceCompliancePolicy"])
async def test_a_target_that_is_gone_or_of_another_type_blocks_the_item(world: RestoreLab, kind: str | None) -> None:
    _, set_id, item = await homonyms(world)
    target = world.tenant.add(kind, a_policy("Disk")) if kind else "nobody"
    row = (await world.items(await world.preview_with(set_id, chosen(targets={item: target}))))["Disk"]
    assert (row["plan"]["action"], row["error_code"]) == ("blocked", "restore.target_missing")


async def test_an_object_that_is_another_items_target_is_nobody_elses(world: RestoreLab) -> None:
    first = world.tenant.add(KIND, a_policy("First"))
    second = world.tenant.add(KIND, a_policy("Second"))
    set_id = await world.back_up()
    del world.tenant.objects[KIND, first]
    ids = {label: row["item_id"] for label, row in (await world.items(await world.preview(set_id))).items()}

    items = await world.items(await world.preview_with(set_id, chosen(targets={ids["First"]: second})))

    assert items["First"]["plan"]["target_id"] == second
    assert items["Second"]["error_code"] == "restore.ambiguous_target"


async def test_a_target_that_drifts_after_the_preview_blocks(world: RestoreLab) -> None:
    new, set_id, item = await homonyms(world)
    preview = await world.preview_with(set_id, chosen(targets={item: new[0]}))
    world.tenant.objects[KIND, new[0]].payload["description"] = "drifted"
    run = await world.execute(preview)
    assert (await world.outcomes(run))["Disk"] == ("blocked", "restore.plan_changed")
    assert world.tenant.journal == []


# --- findings --------------------------------------------------------------------------------------------------------


async def test_findings_are_stored_with_each_entry_and_counted(world: RestoreLab) -> None:
    elsewhere = FakeTenant(prefix="other")
    elsewhere.add(KIND, a_policy("Warned"), [to_group("g1")])
    elsewhere.add(KIND, a_policy("Fine"))
    elsewhere.add(KIND, a_policy("Doubled"))
    for _ in range(2):
        world.tenant.add(KIND, a_policy("Doubled"))
    preview = await world.preview(await world.back_up(elsewhere))

    checks = {label: row["plan"]["checks"] for label, row in (await world.items(preview)).items()}
    assert checks == {
        "Warned": [{"code": "restore.mapping_unsafe", "severity": "warning"}],
        "Fine": [{"code": "plan.nothing_found", "severity": "safe"}],
        "Doubled": [{"code": "restore.ambiguous_target", "severity": "blocking"}],
    }
    assert preview.preview is not None
    assert preview.preview["checks"] == {"blocking": 1, "warning": 1, "safe": 1}
