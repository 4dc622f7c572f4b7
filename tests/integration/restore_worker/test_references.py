"""What references of a plan mean, and what an execution does when they mean something else."""

from uuid import UUID

import pytest

from shared.domain.errors import SafeCode, TransientError
from shared.ports import RunRecord
from tests.support.fake_writable_tenant import FakeTenant
from tests.support.restore_lab import ALL_DEVICES, RestoreLab, a_filter, a_policy, to_group

KIND, FILTER, TAG = "deviceConfiguration", "assignmentFilter", "roleScopeTag"
UNSAFE = "restore.mapping_unsafe"


async def references(world: RestoreLab, run: RunRecord, label: str) -> list[tuple[str, str | None, str]]:
    """Each reference of an item: from, to, confidence."""
    rows = (await world.items(run))[label]["plan"]["references"]
    return [(row["from"], row["to"], row["confidence"]) for row in rows]


async def item_of(world: RestoreLab, set_id: UUID, label: str) -> UUID:
    rows = await world.lab.rows(
        "SELECT id FROM backup_items WHERE backup_set_id = :set AND display_name = :label", set=set_id, label=label
    )
    found: UUID = rows[0]["id"]
    return found


async def only(world: RestoreLab, set_id: UUID, label: str) -> RunRecord:
    """Preview one item, without the foundations that it refers to."""
    return await world.preview(set_id, item_ids=[await item_of(world, set_id, label)])


def with_filter(tenant: FakeTenant, rule: str) -> None:
    narrowed = to_group("g1", filter_id=tenant.add(FILTER, a_filter("Laptops", rule)))
    tenant.add(KIND, a_policy("Disk"), [{"target": {**narrowed["target"], **ALL_DEVICES["target"]}}])


async def test_a_filter_that_the_run_does_not_restore_is_the_one_of_the_same_name_and_rule(world: RestoreLab) -> None:
    elsewhere = FakeTenant(prefix="old")
    with_filter(elsewhere, "A")
    own = world.tenant.add(FILTER, a_filter("Laptops", "A"))
    preview = await only(world, await world.back_up(elsewhere), "Disk")
    assert await references(world, preview, "Disk") == [("old-1", own, "mapped")]
    await world.execute(preview)
    written = next(one for (kind, _), one in world.tenant.objects.items() if kind == KIND)
    assert written.assignments[0]["target"]["deviceAndAppManagementAssignmentFilterId"] == own


@pytest.mark.parametrize(("rules", "confidence"), [(["B"], "ambiguous"), (["A", "A"], "ambiguous"), ([], "missing")])
async def test_a_filter_with_another_rule_or_a_namesake_is_not_used(
    world: RestoreLab, rules: list[str], confidence: str
) -> None:
    elsewhere = FakeTenant(prefix="old")
    with_filter(elsewhere, "A")
    for rule in rules:
        world.tenant.add(FILTER, a_filter("Laptops", rule))
    preview = await only(world, await world.back_up(elsewhere), "Disk")
    assert await references(world, preview, "Disk") == [("old-1", None, confidence)]
    assert (await world.items(preview))["Disk"]["plan"]["warnings"] == [UNSAFE]


async def test_scope_tags_with_each_others_numbers_are_told_apart_by_name(world: RestoreLab) -> None:
    elsewhere = FakeTenant()
    for number, name in (("3", "Berlin"), ("7", "Paris")):
        elsewhere.add(TAG, {"displayName": name}, remote_id=number)
        world.tenant.add(TAG, {"displayName": "Paris" if name == "Berlin" else "Berlin"}, remote_id=number)
    elsewhere.add(KIND, a_policy("Disk", roleScopeTagIds=["3"]))
    set_id = await world.back_up(elsewhere)
    for preview in (await world.preview(set_id), await only(world, set_id, "Disk")):
        assert await references(world, preview, "Disk") == [("3", "7", "mapped")]
    assert (await world.actions(await world.preview(set_id))) == {
        "Berlin": "unchanged",
        "Paris": "unchanged",
        "Disk": "create",
    }


async def test_a_group_that_is_gone_from_its_own_tenant_is_found_by_no_id(world: RestoreLab) -> None:
    policy = world.tenant.add(KIND, a_policy("Disk"), [ALL_DEVICES, to_group("g1", excluded=True)])
    set_id = await world.back_up()
    world.tenant.objects[KIND, policy].assignments = []
    world.tenant.groups = {}
    preview = await world.preview(set_id)
    assert await references(world, preview, "Disk") == [("g1", None, "missing")]
    assert (await world.items(preview))["Disk"]["plan"]["warnings"] == [UNSAFE]


async def changed(world: RestoreLab) -> RunRecord:
    """A preview that would write a policy and assign it to a group of its own tenant."""
    world.tenant.groups = {"g1": "Pilots"}
    policy = world.tenant.add(KIND, a_policy("Disk", description="as agreed"), [to_group("g1")])
    set_id = await world.back_up()
    world.tenant.objects[KIND, policy].payload["description"] = "changed"
    world.tenant.objects[KIND, policy].assignments = []
    return await world.preview(set_id)


async def test_a_group_that_went_after_the_preview_stops_the_item_before_its_first_write(world: RestoreLab) -> None:
    preview = await changed(world)
    world.tenant.groups = {}
    run = await world.execute(preview)
    assert await world.outcomes(run) == {"Disk": ("blocked", "restore.plan_changed")}
    assert world.tenant.journal == []


async def test_a_group_that_was_renamed_is_still_the_same(world: RestoreLab) -> None:
    preview = await changed(world)
    world.tenant.groups = {"g1": "Pilots, new"}
    assert await world.outcomes(await world.execute(preview)) == {"Disk": ("applied_updated", None)}


@pytest.mark.parametrize(
    ("groups", "end", "writes"),
    [
        ({"g1": "Pilots"}, ("applied_updated", None), ["assign"]),
        ({}, ("unknown", "restore.outcome_unknown"), []),
    ],
)
async def test_who_takes_over_a_begun_item_assigns_it_to_no_other_group(
    world: RestoreLab, groups: dict[str, str], end: tuple[str, str | None], writes: list[str]
) -> None:
    preview = await changed(world)
    world.tenant.read_faults = [TransientError(SafeCode.GRAPH_UNAVAILABLE)]
    run = await world.slice(await world.start(preview), slice_items=1)
    world.tenant.read_faults = []
    [(_, target)] = [key for key in world.tenant.objects if key[0] == KIND]
    await world.die_in_intent(run, "Disk", step="assign", remote_id=target)
    world.tenant.groups = groups
    run = await world.finished(run)
    assert await world.outcomes(run) == {"Disk": end}
    assert [one.method for one in world.tenant.journal] == writes


async def test_the_plan_is_sealed_with_what_its_references_mean(world: RestoreLab) -> None:
    preview = await changed(world)
    await world.lab.rows(
        "UPDATE restore_run_items SET plan = jsonb_set(plan, '{references,0,to}', '\"g2\"') "
        "WHERE run_id = :run RETURNING 1",
        run=preview.id,
    )
    run = await world.execute(preview)
    assert run.error_code == "restore.plan_changed"
    assert world.tenant.journal == []


async def test_the_id_map_holds_items_and_groups_and_a_repetition_adds_nothing(world: RestoreLab) -> None:
    preview = await changed(world)
    run = await world.execute(preview)
    rows = await world.lab.rows("SELECT * FROM restore_id_map WHERE run_id = :run ORDER BY policy_type", run=run.id)
    [(_, target)] = [key for key in world.tenant.objects if key[0] == KIND]
    assert [(row["policy_type"], row["source_id"], row["target_id"], row["decision"]) for row in rows] == [
        (KIND, target, target, "mapped_existing"),
        ("group", "g1", "g1", "mapped_existing"),
    ]
    async with world.lab.uow.begin(world.tenant_id) as tx:
        await tx.id_maps.record(run.id, [0, 1, 2])
    again = await world.lab.rows("SELECT * FROM restore_id_map WHERE run_id = :run", run=run.id)
    assert len(again) == 2
