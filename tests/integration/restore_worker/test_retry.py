"""A retry of an execution: the same plan, only what was left undone, and no write twice."""

from typing import Any
from uuid import UUID

from shared.domain.errors import PermanentError, SafeCode, TransientError
from shared.domain.runs import Counts, RunStatus
from shared.ports import RunRecord
from tests.support.fake_writable_tenant import FakeTenant, raising
from tests.support.restore_lab import ALL_DEVICES, RestoreLab, a_filter, a_policy, to_group

KIND = "deviceConfiguration"
FILTER = "assignmentFilter"
REFUSED = raising(PermanentError(SafeCode.GRAPH_BAD_REQUEST))


async def retried(world: RestoreLab, parent: RunRecord, *, undo_of: UUID | None = None, **metadata: Any) -> RunRecord:
    """Carry out the child that the dispatcher would create."""
    preview = parent.preview_run_id
    child = await world._add_run(
        "restore.execute",
        parent.backup_set_id,  # type: ignore[arg-type]  # an execution has one
        writes=True,
        preview_run_id=preview,
        retry_of=parent.id,
        undo_of=undo_of,
        metadata=metadata,
    )
    return await world.finished(child)


def writes(tenant: FakeTenant) -> list[str]:
    return [write.method for write in tenant.journal]


async def two_lost_policies(world: RestoreLab) -> RunRecord:
    """Back two policies up, delete them, preview: the plan is to create both."""
    ids = [world.tenant.add(KIND, a_policy(name, description="a")) for name in ("Disk", "Edge")]
    set_id = await world.back_up()
    for one in ids:
        del world.tenant.objects[KIND, one]
    return await world.preview(set_id)


async def test_only_the_failed_item_is_written_by_the_retry(world: RestoreLab) -> None:
    preview = await two_lost_policies(world)
    world.tenant.faults = [REFUSED]
    parent = await world.execute(preview)
    assert (parent.status, writes(world.tenant)) == (RunStatus.PARTIAL, ["create"])

    child = await retried(world, parent)

    assert (child.status, child.counts) == (RunStatus.SUCCEEDED, Counts(1, 1, 0, 0))
    assert writes(world.tenant) == ["create", "create"]
    assert sorted(one.display_name for one in world.tenant.refs(KIND)) == ["Disk", "Edge"]


async def test_an_unknown_item_is_left_to_a_person_and_with_a_decision_looked_for_before_written(
    world: RestoreLab,
) -> None:
    """The write had happened: the retry finds it in the tenant and sends none."""
    preview = await two_lost_policies(world)

    def cut_off(perform: Any) -> None:
        perform()
        world.tenant.read_faults = [TransientError(SafeCode.GRAPH_UNAVAILABLE)] * 200
        raise TransientError(SafeCode.GRAPH_UNAVAILABLE)

    world.tenant.faults = [cut_off, REFUSED]
    parent = await world.execute(preview)
    unknown = [label for label, (outcome, _) in (await world.outcomes(parent)).items() if outcome == "unknown"]
    assert len(unknown) == 1
    world.tenant.read_faults = []
    before = len(world.tenant.journal)

    careful = await retried(world, parent)
    assert not set(unknown) & (await world.items(careful)).keys()
    decided = await retried(world, parent, include_unknown=True)

    assert (await world.outcomes(decided))[unknown[0]] == ("applied_created", None)
    assert [write.tag.run_id for write in world.tenant.journal[before:]] == [careful.id]


async def test_a_drifted_tenant_blocks_the_retry_as_it_blocks_an_execution(world: RestoreLab) -> None:
    preview = await two_lost_policies(world)
    world.tenant.faults = [REFUSED]
    parent = await world.execute(preview)
    failed = next(label for label, (outcome, _) in (await world.outcomes(parent)).items() if outcome == "failed")
    world.tenant.add(KIND, a_policy(failed, description="somebody else's"))

    child = await retried(world, parent)

    assert child.status is RunStatus.FAILED
    assert writes(world.tenant) == ["create"]


async def test_the_retry_of_a_preview_plans_with_nothing_that_only_the_preview_would_make(world: RestoreLab) -> None:
    """Whoever executes it executes its own items alone: what refers to the others is told to lead nowhere."""
    filter_id = world.tenant.add(FILTER, a_filter("Laptops"))
    policy = world.tenant.add(KIND, a_policy("Disk"), [to_group("g1", filter_id=filter_id)])
    set_id = await world.back_up()
    del world.tenant.objects[FILTER, filter_id]
    del world.tenant.objects[KIND, policy]
    world.tenant.read_faults = [None, PermanentError(SafeCode.GRAPH_BAD_RESPONSE)]
    parent = await world.preview(set_id)
    assert await world.outcomes(parent) == {
        "Laptops": ("planned", None),
        "Disk": ("failed", "graph.bad_response"),
    }

    child = await world.preview(set_id, retry_of=parent.id, metadata=parent.metadata)

    planned = (await world.items(child))["Disk"]["plan"]
    assert {row["type"]: row["confidence"] for row in planned["references"]}[FILTER] == "missing"
    assert planned["warnings"] == ["restore.mapping_unsafe"]
    run = await world.execute(child)
    assert await world.outcomes(run) == {"Disk": ("applied_created", "restore.mapping_unsafe")}


async def test_what_the_parent_made_of_a_foundation_is_what_the_retry_refers_to(world: RestoreLab) -> None:
    elsewhere = FakeTenant(prefix="other")
    chosen = elsewhere.add(FILTER, a_filter("Laptops"))
    target = {
        **ALL_DEVICES["target"],
        "deviceAndAppManagementAssignmentFilterId": chosen,
        "deviceAndAppManagementAssignmentFilterType": "include",
    }
    elsewhere.add(KIND, a_policy("Disk"), [{"target": target}])
    preview = await world.preview(await world.back_up(elsewhere))
    world.tenant.faults = [None, REFUSED]
    parent = await world.execute(preview)
    assert parent.status is RunStatus.PARTIAL

    child = await retried(world, parent)

    assert child.status is RunStatus.SUCCEEDED
    made = world.tenant.refs(FILTER)[0].remote_id
    disk = world.tenant.objects[KIND, world.tenant.refs(KIND)[0].remote_id]
    assert disk.assignments[0]["target"]["deviceAndAppManagementAssignmentFilterId"] == made
