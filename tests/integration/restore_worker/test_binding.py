"""What binds an execution to its preview: the hash over scope, choices and code, and that nothing grew stale."""

from uuid import UUID

import pytest

from shared.connectors.planner_version import planner_version
from shared.domain.errors import PermanentError, SafeCode
from shared.domain.restore_options import Assignments, Match, chosen
from shared.domain.runs import RunStatus
from shared.ports import RunRecord
from tests.support.fake_writable_tenant import raising
from tests.support.restore_lab import RestoreLab, a_policy

KIND = "deviceConfiguration"


async def a_change(world: RestoreLab) -> tuple[str, UUID]:
    policy = world.tenant.add(KIND, a_policy("Disk", description="a"))
    set_id = await world.back_up()
    world.tenant.objects[KIND, policy].payload["description"] = "drifted"
    return policy, set_id


def refused(run: RunRecord) -> tuple[RunStatus, SafeCode | None, object]:
    return run.status, run.error_code, (run.error_context or {}).get("reason")


def hash_of(run: RunRecord) -> str:
    assert run.preview is not None
    return str(run.preview["plan_hash"])


async def test_the_same_plan_of_another_scope_set_or_choice_has_another_hash(world: RestoreLab) -> None:
    _, set_id = await a_change(world)
    item = (await world.items(await world.preview(set_id)))["Disk"]["item_id"]
    runs = [
        await world.preview(set_id),
        await world.preview(set_id, item_ids=[item]),
        await world.preview(set_id, selector={"policy_types": [KIND]}),
        await world.preview_with(set_id, chosen(assignments=Assignments.WITHOUT)),
    ]
    world.planner = "another"
    runs.append(await world.preview(set_id))

    assert [list((await world.actions(run)).values()) for run in runs] == [["update"]] * 5
    assert len({hash_of(run) for run in runs}) == 5


async def test_a_preview_notes_what_it_was_made_from(world: RestoreLab) -> None:
    _, set_id = await a_change(world)
    preview = await world.preview(set_id)
    assert preview.metadata["evidence"] == {"planner": planner_version(), "backup_items": 1}


async def test_an_execution_by_other_code_is_refused(world: RestoreLab) -> None:
    _, set_id = await a_change(world)
    preview = await world.preview(set_id)
    world.planner = "another"
    assert refused(await world.execute(preview)) == (RunStatus.FAILED, SafeCode.RESTORE_PLAN_CHANGED, None)
    assert world.tenant.journal == []


async def test_an_execution_with_choices_of_its_own_is_refused(world: RestoreLab) -> None:
    _, set_id = await a_change(world)
    preview = await world.preview(set_id)
    run = await world.execute(preview, metadata={"options": chosen(Match.COPY).as_json()})
    assert refused(run) == (RunStatus.FAILED, SafeCode.RESTORE_PLAN_CHANGED, None)
    assert world.tenant.journal == []


@pytest.mark.parametrize(
    "change",
    [
        'selector = \'{"all": false, "policy_types": ["deviceConfiguration"]}\'',
        'metadata = metadata || \'{"options": {"assignments": "only"}}\'',
    ],
)
async def test_a_basis_that_was_changed_after_the_preview_is_noticed(world: RestoreLab, change: str) -> None:
    _, set_id = await a_change(world)
    preview = await world.preview(set_id)
    await world.lab.rows(f"UPDATE restore_runs SET {change} WHERE id = :run RETURNING 1", run=preview.id)  # noqa: S608
    changed = await world.lab.get(preview)
    assert refused(await world.execute(changed)) == (RunStatus.FAILED, SafeCode.RESTORE_PLAN_CHANGED, None)


async def test_a_preview_is_stale_after_a_day(world: RestoreLab) -> None:
    _, set_id = await a_change(world)
    preview = await world.preview(set_id)
    late = "UPDATE restore_runs SET completed_at = clock_timestamp() - interval '25 hours' WHERE id = :run RETURNING 1"
    await world.lab.rows(late, run=preview.id)
    assert refused(await world.execute(preview)) == (RunStatus.FAILED, SafeCode.RESTORE_PREVIEW_STALE, "age")
    assert world.tenant.journal == []


async def test_a_preview_is_invalidated_by_what_is_added_to_its_backup_set(world: RestoreLab) -> None:
    _, set_id = await a_change(world)
    preview = await world.preview(set_id)
    added = """
        INSERT INTO backup_items SELECT (jsonb_populate_record(b, jsonb_build_object('id', gen_random_uuid(),
            'remote_id', 'later', 'policy_id', NULL))).* FROM backup_items b WHERE backup_set_id = :set RETURNING 1
    """
    await world.lab.rows(added, set=set_id)
    run = await world.execute(preview)
    assert refused(run) == (RunStatus.FAILED, SafeCode.RESTORE_PREVIEW_STALE, "backup_set_changed")
    assert world.tenant.journal == []


async def test_a_preview_without_evidence_is_not_relied_on(world: RestoreLab) -> None:
    _, set_id = await a_change(world)
    preview = await world.preview(set_id)
    await world.lab.rows(
        "UPDATE restore_runs SET metadata = metadata - 'evidence' WHERE id = :run RETURNING 1", run=preview.id
    )
    run = await world.execute(preview)
    assert refused(run) == (RunStatus.FAILED, SafeCode.RESTORE_PREVIEW_STALE, "evidence_missing")


async def test_a_retry_goes_on_with_what_has_begun_however_old_its_preview_is(world: RestoreLab) -> None:
    policy, set_id = await a_change(world)
    preview = await world.preview(set_id)
    world.tenant.faults = [raising(PermanentError(SafeCode.GRAPH_BAD_REQUEST))]
    parent = await world.execute(preview)
    late = "UPDATE restore_runs SET completed_at = clock_timestamp() - interval '25 hours' WHERE id = :run RETURNING 1"
    await world.lab.rows(late, run=preview.id)

    child = await world.execute(preview, retry_of=parent.id)

    assert (parent.status, child.status) == (RunStatus.FAILED, RunStatus.SUCCEEDED)
    assert world.tenant.objects[KIND, policy].payload["description"] == "a"
