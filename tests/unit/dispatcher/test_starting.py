"""The rules of a start, whichever door it came through."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.dispatcher.handlers import Door, Source, Started
from services.dispatcher.starts import Starts
from shared.connectors.planner_version import planner_version
from shared.contracts.commands import RestoreChoices, Selector, Start, StartRestoreRun
from shared.contracts.events import EventKind
from shared.domain.errors import ConflictError, ReinstateError, SafeCode
from shared.domain.operations import Role
from shared.domain.restore_options import Assignments, Match
from shared.domain.runs import Lane, RunStatus, RunType
from tests.support.builders import a_preview, a_sync
from tests.support.fakes import A_HASH, FakeUnitOfWork, Sent

HTTP = Source(Door.HTTP, requester="Mara")
EVERYTHING = Selector(all=True)


def by_message(message_id: str) -> Source:
    return Source(Door.COMMANDS, message_id)


@pytest.fixture
def uow() -> FakeUnitOfWork:
    return FakeUnitOfWork()


@pytest.fixture
def tenant_id(uow: FakeUnitOfWork) -> UUID:
    return uow.add_tenant()


async def start(uow: FakeUnitOfWork, command: Start, source: Source = HTTP) -> Started:
    return await Starts(uow).start(command, source)


async def refused(uow: FakeUnitOfWork, command: Start, source: Source = HTTP) -> SafeCode:
    before = uow.stored
    with pytest.raises(ReinstateError) as refusal:
        await Starts(uow).start(command, source)
    assert uow.stored is before, "a refused start must leave nothing behind"
    return refusal.value.code


async def finished_preview(uow: FakeUnitOfWork, tenant_id: UUID, status: RunStatus = RunStatus.SUCCEEDED) -> UUID:
    set_id, _ = uow.add_backup_set(tenant_id)
    preview = (await start(uow, a_preview(tenant_id, set_id))).run
    uow.finish(preview, status)
    return preview.id


def an_execution(tenant_id: UUID, preview_run_id: UUID | None, **changes: Any) -> StartRestoreRun:
    return StartRestoreRun(tenant_id=tenant_id, is_dry_run=False, preview_run_id=preview_run_id, **changes)


async def test_a_new_run_is_stored_with_its_audit_line_its_queued_event_and_its_wake_up(
    uow: FakeUnitOfWork, tenant_id: UUID
) -> None:
    started = await start(uow, a_sync(tenant_id), by_message("m-1"))

    run = started.run
    assert started.created
    assert uow.stored.sent == [
        Sent(run.id, EventKind.STATUS, RunStatus.QUEUED, 1, "m-1"),
        Sent(run.id, None, RunStatus.QUEUED, 1),
    ]
    assert [(e.action, e.outcome, e.target_id) for e in uow.stored.audited] == [
        ("bulk_operation_run.started", "success", run.id)
    ]


async def test_fifty_identical_starts_at_once_are_one_run(uow: FakeUnitOfWork, tenant_id: UUID) -> None:
    started = await asyncio.gather(*(start(uow, a_sync(tenant_id)) for _ in range(50)))

    assert len({one.run.id for one in started}) == 1
    assert sum(one.created for one in started) == 1


async def test_the_same_start_by_another_person_joins_and_makes_the_person_a_watcher(
    uow: FakeUnitOfWork, tenant_id: UUID
) -> None:
    first, second = (uow.add_member(tenant_id) for _ in range(2))
    mine = await start(uow, a_sync(tenant_id, initiator_id=first))
    yours = await start(uow, a_sync(tenant_id, initiator_id=second))

    assert yours.run.id == mine.run.id
    assert uow.stored.watchers[mine.run.id] == [second]
    assert [entry.outcome for entry in uow.stored.audited] == ["success", "info"]


async def test_an_upstream_that_meets_an_active_run_learns_its_id_from_an_event(
    uow: FakeUnitOfWork, tenant_id: UUID
) -> None:
    run = (await start(uow, a_sync(tenant_id), by_message("m-1"))).run
    await start(uow, a_sync(tenant_id), by_message("m-2"))

    assert uow.stored.sent[-1] == Sent(run.id, EventKind.REUSED, RunStatus.QUEUED, 1, "m-2")


async def test_once_a_run_is_over_the_same_start_makes_a_new_one(uow: FakeUnitOfWork, tenant_id: UUID) -> None:
    first = (await start(uow, a_sync(tenant_id))).run
    uow.finish(first)

    assert (await start(uow, a_sync(tenant_id))).run.id != first.id


async def test_the_order_of_ids_and_duplicates_do_not_make_another_start(uow: FakeUnitOfWork, tenant_id: UUID) -> None:
    a, b, c = uow.add_policies(tenant_id)
    first = await start(uow, a_sync(tenant_id, action="export", item_ids=(a, b, c)))
    second = await start(uow, a_sync(tenant_id, action="export", item_ids=(c, b, a, b)))
    other = await start(uow, a_sync(tenant_id, action="export", item_ids=(a, b)))

    assert second.run.id == first.run.id != other.run.id
    assert first.run.counts.total == 3


async def test_other_tenants_operations_and_selections_are_other_starts(uow: FakeUnitOfWork, tenant_id: UUID) -> None:
    other = uow.add_tenant()
    uow.add_policies(tenant_id)
    types = Selector(policy_types=("deviceConfiguration",))
    commands = [
        a_sync(tenant_id),
        a_sync(other),
        a_sync(tenant_id, action="export", selector=EVERYTHING),
        a_sync(tenant_id, action="export", selector=types),
        a_sync(tenant_id, resource="backup_set", action="create", selector=EVERYTHING),
    ]

    assert len({(await start(uow, command)).run.id for command in commands}) == len(commands)


async def test_a_repeated_request_gives_the_same_run_even_after_its_end(uow: FakeUnitOfWork, tenant_id: UUID) -> None:
    source = Source(Door.HTTP, "key-1")
    first = await start(uow, a_sync(tenant_id), source)
    uow.finish(first.run)

    again = await start(uow, a_sync(tenant_id), source)

    assert (again.run.id, again.replayed, again.created) == (first.run.id, True, False)
    assert len(uow.stored.runs) == 1


async def test_a_request_id_with_another_body_is_refused(uow: FakeUnitOfWork, tenant_id: UUID) -> None:
    source = Source(Door.HTTP, "key-1")
    await start(uow, a_sync(tenant_id), source)

    with pytest.raises(ConflictError, match=r"request\.idempotency_conflict"):
        await start(uow, a_sync(tenant_id, lane=Lane.INTERACTIVE), source)


async def test_who_asks_is_no_part_of_a_repeated_request(uow: FakeUnitOfWork, tenant_id: UUID) -> None:
    first = await start(uow, a_sync(tenant_id, requested_by="Mara"), by_message("m-1"))
    again = await start(uow, a_sync(tenant_id, requested_by="Nadia"), by_message("m-1"))

    assert again.run.id == first.run.id


@pytest.mark.parametrize(
    ("role", "code"),
    [(Role.READONLY, SafeCode.AUTHZ_MISSING_CAPABILITY), (None, SafeCode.AUTHZ_INITIATOR_NOT_ENTITLED)],
)
async def test_who_may_not_start_it_starts_nothing(
    uow: FakeUnitOfWork, tenant_id: UUID, role: Role | None, code: SafeCode
) -> None:
    user_id = uow.add_member(tenant_id, role) if role else uuid4()

    assert await refused(uow, a_sync(tenant_id, initiator_id=user_id)) is code


async def test_an_operator_may_back_up_but_not_restore(uow: FakeUnitOfWork, tenant_id: UUID) -> None:
    operator = uow.add_member(tenant_id, Role.OPERATOR)
    set_id, _ = uow.add_backup_set(tenant_id)

    assert (await start(uow, a_sync(tenant_id, initiator_id=operator))).created
    preview = a_preview(tenant_id, set_id, initiator_id=operator)
    assert await refused(uow, preview) is SafeCode.AUTHZ_MISSING_CAPABILITY


async def test_nothing_starts_in_an_unknown_or_suspended_tenant(uow: FakeUnitOfWork) -> None:
    assert await refused(uow, a_sync(uuid4())) is SafeCode.RESOURCE_NOT_FOUND
    suspended = uow.add_tenant(status="suspended")
    assert await refused(uow, a_sync(suspended)) is SafeCode.AUTHZ_TENANT_NOT_OPERABLE


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"resource": "policy", "action": "destroy"}, SafeCode.OPERATION_UNKNOWN),
        ({"resource": "restore", "action": "execute"}, SafeCode.OPERATION_UNKNOWN),
        ({"target_id": uuid4()}, SafeCode.REQUEST_INVALID),
        ({"action": "capture_snapshot"}, SafeCode.REQUEST_INVALID),
        ({"action": "capture_snapshot", "target_id": uuid4()}, SafeCode.POLICY_NOT_FOUND),
        ({"selector": EVERYTHING}, SafeCode.REQUEST_INVALID),
        ({"item_ids": (uuid4(),)}, SafeCode.REQUEST_INVALID),
        ({"action": "export"}, SafeCode.SELECTION_EMPTY),
        ({"action": "export", "item_ids": ()}, SafeCode.SELECTION_EMPTY),
        ({"action": "export", "selector": EVERYTHING}, SafeCode.SELECTION_EMPTY),
        ({"action": "export", "item_ids": (uuid4(),)}, SafeCode.SELECTION_UNKNOWN_ITEMS),
        ({"resource": "backup_set", "action": "create"}, SafeCode.SELECTION_EMPTY),
        ({"resource": "backup_set", "action": "export", "target_id": uuid4()}, SafeCode.SCOPE_TENANT_MISMATCH),
        ({"resource": "backup_set", "action": "create", "name": "a\x00b"}, SafeCode.REQUEST_INVALID),
    ],
)
async def test_a_start_that_means_nothing_here_is_refused_with_its_code(
    uow: FakeUnitOfWork, tenant_id: UUID, changes: dict[str, Any], code: SafeCode
) -> None:
    assert await refused(uow, a_sync(tenant_id, **changes)) is code


async def test_a_selection_by_rule_may_find_nothing_yet_where_the_worker_lists_first(
    uow: FakeUnitOfWork, tenant_id: UUID
) -> None:
    command = a_sync(tenant_id, resource="backup_set", action="create", selector=EVERYTHING, name="Before")
    run = (await start(uow, command)).run

    assert (run.counts.total, run.metadata["name"]) == (None, "Before")


@pytest.mark.parametrize(("hours", "is_taken"), [(-2, True), (0, False), (2, False)])
async def test_whether_a_deadline_leaves_time_is_judged_by_the_databases_clock(
    uow: FakeUnitOfWork, tenant_id: UUID, hours: int, *, is_taken: bool
) -> None:
    """The dispatcher's own clock may be hours off."""
    now = datetime.now(UTC)
    uow.known.clock = lambda: now + timedelta(hours=hours)
    command = a_sync(tenant_id, deadline_at=now - timedelta(hours=1))

    if is_taken:
        assert (await start(uow, command)).created
    else:
        assert await refused(uow, command) == SafeCode.REQUEST_INVALID


async def test_a_preview_takes_the_whole_set_unless_told_otherwise(uow: FakeUnitOfWork, tenant_id: UUID) -> None:
    set_id, items = uow.add_backup_set(tenant_id)
    whole = (await start(uow, a_preview(tenant_id, set_id))).run
    some = (await start(uow, a_preview(tenant_id, set_id, item_ids=tuple(items[:2])))).run

    assert (whole.writes, whole.counts.total, whole.backup_set_id) == (False, None, set_id)
    assert some.counts.total == 2


async def test_items_of_another_set_of_the_same_tenant_are_unknown(uow: FakeUnitOfWork, tenant_id: UUID) -> None:
    set_id, _ = uow.add_backup_set(tenant_id)
    _, foreign = uow.add_backup_set(tenant_id)

    command = a_preview(tenant_id, set_id, item_ids=tuple(foreign))
    assert await refused(uow, command) is SafeCode.SELECTION_UNKNOWN_ITEMS


async def test_another_tenants_set_and_a_set_that_is_nowhere_get_the_same_answer(
    uow: FakeUnitOfWork, tenant_id: UUID
) -> None:
    foreign, _ = uow.add_backup_set(uow.add_tenant())

    answers = [await refused(uow, a_preview(tenant_id, set_id)) for set_id in (foreign, uuid4())]
    assert answers == [SafeCode.SCOPE_TENANT_MISMATCH] * 2


async def test_an_execution_carries_out_a_preview_that_succeeded(uow: FakeUnitOfWork, tenant_id: UUID) -> None:
    preview_id = await finished_preview(uow, tenant_id)

    run = (await start(uow, an_execution(tenant_id, preview_id))).run

    assert (run.writes, run.preview_run_id, run.lane) == (True, preview_id, Lane.INTERACTIVE)
    assert run.backup_set_id == uow.stored.runs[preview_id].backup_set_id


@pytest.mark.parametrize("status", [RunStatus.QUEUED, RunStatus.PARTIAL, RunStatus.FAILED, RunStatus.ABORTED])
async def test_a_preview_that_did_not_succeed_is_not_carried_out(
    uow: FakeUnitOfWork, tenant_id: UUID, status: RunStatus
) -> None:
    preview_id = await finished_preview(uow, tenant_id, status)

    assert await refused(uow, an_execution(tenant_id, preview_id)) is SafeCode.RESTORE_PREVIEW_REQUIRED


async def test_an_execution_is_not_a_preview_and_needs_one_of_its_own_tenant(
    uow: FakeUnitOfWork, tenant_id: UUID
) -> None:
    preview_id = await finished_preview(uow, tenant_id)
    execution = (await start(uow, an_execution(tenant_id, preview_id))).run
    uow.finish(execution)
    foreign = await finished_preview(uow, uow.add_tenant())

    assert await refused(uow, an_execution(tenant_id, execution.id)) is SafeCode.RESTORE_PREVIEW_REQUIRED
    assert await refused(uow, an_execution(tenant_id, None)) is SafeCode.RESTORE_PREVIEW_REQUIRED
    assert await refused(uow, an_execution(tenant_id, foreign)) is SafeCode.SCOPE_TENANT_MISMATCH


async def test_an_execution_of_another_backup_set_or_with_a_selection_is_refused(
    uow: FakeUnitOfWork, tenant_id: UUID
) -> None:
    preview_id = await finished_preview(uow, tenant_id)
    other, items = uow.add_backup_set(tenant_id)

    wrong_set = an_execution(tenant_id, preview_id, backup_set_id=other)
    selected = an_execution(tenant_id, preview_id, item_ids=tuple(items))
    assert [await refused(uow, command) for command in (wrong_set, selected)] == [SafeCode.REQUEST_INVALID] * 2


async def test_previews_with_other_choices_are_other_runs_and_the_same_choices_join(
    uow: FakeUnitOfWork, tenant_id: UUID
) -> None:
    set_id, items = uow.add_backup_set(tenant_id)

    async def preview(**choices: Any) -> UUID:
        options = RestoreChoices(**choices)
        return (await start(uow, a_preview(tenant_id, set_id, options=options))).run.id

    by_default = (await start(uow, a_preview(tenant_id, set_id))).run.id
    different = [
        await preview(match=Match.CREATE_ONLY),
        await preview(match=Match.COPY),
        await preview(match=Match.COPY, copy_suffix=" 2"),
        await preview(assignments=Assignments.WITHOUT),
        await preview(targets={items[0]: "x"}),
        await preview(targets={items[0]: "y"}),
    ]

    assert len({by_default, *different}) == 7
    assert await preview() == await preview(assignments=Assignments.WITH) == by_default
    assert await preview(match=Match.COPY, assignments=Assignments.WITHOUT) == different[1]


async def test_an_execution_takes_over_choices_and_hash_of_its_preview_and_keeps_what_was_known(
    uow: FakeUnitOfWork, tenant_id: UUID
) -> None:
    manager = uow.add_member(tenant_id)
    set_id, _ = uow.add_backup_set(tenant_id)
    options = RestoreChoices(match=Match.CREATE_ONLY)
    preview = (await start(uow, a_preview(tenant_id, set_id, options=options))).run
    uow.finish(preview)

    command = an_execution(tenant_id, preview.id, plan_hash=A_HASH, initiator_id=manager, requested_by="Mara")
    run = (await start(uow, command)).run

    assert run.metadata["options"] == {"match": "create_only", "assignments": "with"}
    assert run.metadata["plan_hash"] == A_HASH
    ended = uow.stored.runs[preview.id].finished_at
    assert ended is not None
    assert run.metadata["safety"] == {
        "preview_run_id": str(preview.id),
        "previewed_at": ended.isoformat(),
        "plan_hash": A_HASH,
        "planner": planner_version(),
        "actions": {"update": 2},
        "checks": {"warning": 1, "safe": 1},
        "backup_set": {"id": str(set_id), "name": "Set", "items": 3},
        "acknowledged_by": {"id": str(manager), "name": "Mara"},
    }


async def test_a_plan_that_was_not_looked_at_is_refused_and_without_a_hash_the_previews_binds(
    uow: FakeUnitOfWork, tenant_id: UUID
) -> None:
    preview_id = await finished_preview(uow, tenant_id)

    other = an_execution(tenant_id, preview_id, plan_hash="cd" * 32)
    assert await refused(uow, other) is SafeCode.RESTORE_PLAN_CHANGED
    assert (await start(uow, an_execution(tenant_id, preview_id))).run.metadata["plan_hash"] == A_HASH


@pytest.mark.parametrize(("age", "is_taken"), [(timedelta(hours=23), True), (timedelta(hours=25), False)])
async def test_a_preview_is_judged_at_the_time_when_the_execution_begins(
    uow: FakeUnitOfWork, tenant_id: UUID, age: timedelta, *, is_taken: bool
) -> None:
    now = datetime.now(UTC)
    waiting = an_execution(tenant_id, await finished_preview(uow, tenant_id), not_before=now + age)
    at_once = an_execution(tenant_id, await finished_preview(uow, tenant_id))

    if is_taken:
        assert (await start(uow, waiting)).created
    else:
        assert await refused(uow, waiting) is SafeCode.RESTORE_PREVIEW_STALE
    uow.known.clock = lambda: now + age
    if is_taken:
        assert (await start(uow, at_once)).created
    else:
        assert await refused(uow, at_once) is SafeCode.RESTORE_PREVIEW_STALE


@pytest.mark.parametrize("change", ["items", "planner", "evidence"])
async def test_a_preview_of_what_is_not_so_any_more_is_not_carried_out(
    uow: FakeUnitOfWork, tenant_id: UUID, change: str
) -> None:
    preview_id = await finished_preview(uow, tenant_id)
    preview = uow.stored.runs[preview_id]
    if change == "items":
        assert preview.backup_set_id is not None
        uow.known.backup_sets[tenant_id][preview.backup_set_id][uuid4()] = "deviceConfiguration"
    elif change == "planner":
        evidence = {**preview.metadata["evidence"], "planner": "0-another"}
        uow.stored.runs[preview_id] = replace(preview, metadata={"evidence": evidence})
    else:
        uow.stored.runs[preview_id] = replace(preview, metadata={})

    assert await refused(uow, an_execution(tenant_id, preview_id)) is SafeCode.RESTORE_PREVIEW_STALE


async def test_choices_belong_to_a_preview_and_its_hash_to_an_execution(uow: FakeUnitOfWork, tenant_id: UUID) -> None:
    preview_id = await finished_preview(uow, tenant_id)
    set_id, _ = uow.add_backup_set(tenant_id)

    with_choices = an_execution(tenant_id, preview_id, options=RestoreChoices())
    with_hash = a_preview(tenant_id, set_id, plan_hash=A_HASH)
    assert [await refused(uow, one) for one in (with_choices, with_hash)] == [SafeCode.REQUEST_INVALID] * 2


async def test_a_target_is_named_for_an_item_of_the_set_and_of_the_selection(
    uow: FakeUnitOfWork, tenant_id: UUID
) -> None:
    set_id, items = uow.add_backup_set(tenant_id)
    _, foreign = uow.add_backup_set(tenant_id)

    elsewhere = a_preview(tenant_id, set_id, options=RestoreChoices(targets={foreign[0]: "x"}))
    unselected = a_preview(tenant_id, set_id, item_ids=(items[0],), options=RestoreChoices(targets={items[1]: "x"}))
    assert await refused(uow, elsewhere) is SafeCode.SELECTION_UNKNOWN_ITEMS
    assert await refused(uow, unselected) is SafeCode.REQUEST_INVALID


async def test_no_run_ever_gets_a_lane_or_type_that_its_operation_does_not_say(
    uow: FakeUnitOfWork, tenant_id: UUID
) -> None:
    background = (await start(uow, a_sync(tenant_id))).run
    set_id, _ = uow.add_backup_set(tenant_id)
    chosen = (await start(uow, a_preview(tenant_id, set_id, lane=Lane.BACKGROUND))).run

    assert (background.run_type, background.lane) == (RunType.BULK, Lane.BACKGROUND)
    assert (chosen.run_type, chosen.lane) == (RunType.RESTORE, Lane.BACKGROUND)
