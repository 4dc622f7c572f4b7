import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.errors import PermanentError, SafeCode
from shared.domain.operations import OPERATIONS, Identity, Operation, Role, Target, operation_named
from shared.domain.runs import Lane, RunType

every_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=list(OPERATIONS))


@every_operation
def test_an_operation_is_found_under_its_name(operation: Operation) -> None:
    assert operation.name == f"{operation.resource}.{operation.action}"
    assert re.fullmatch(r"[a-z_]+\.[a-z_]+", operation.name)
    assert operation_named(operation.name) is operation


@every_operation
def test_restores_have_their_run_record_and_everything_else_is_bulk(operation: Operation) -> None:
    assert (operation.run_type is RunType.RESTORE) == (operation.resource == "restore")


def test_executing_a_restore_is_the_one_operation_that_writes() -> None:
    assert [operation.name for operation in OPERATIONS.values() if operation.writes] == ["restore.execute"]


@every_operation
def test_who_writes_or_plans_a_write_needs_a_stronger_role_than_who_reads(operation: Operation) -> None:
    assert operation.role is (Role.MANAGER if operation.run_type is RunType.RESTORE else Role.OPERATOR)


@every_operation
def test_an_execution_carries_out_a_preview_and_selects_nothing_itself(operation: Operation) -> None:
    assert (operation.target is Target.PREVIEW) == operation.writes
    assert not operation.writes or operation.selects is Target.NONE


@every_operation
def test_a_selection_is_of_policies_or_of_a_backup_sets_items(operation: Operation) -> None:
    assert operation.selects in {Target.NONE, Target.POLICY, Target.BACKUP_SET}
    assert operation.selects is not Target.BACKUP_SET or operation.target is Target.BACKUP_SET


@every_operation
def test_a_person_waits_for_restores_and_for_the_capture_of_one_policy(operation: Operation) -> None:
    awaited = operation.run_type is RunType.RESTORE or operation.name == "policy.capture_snapshot"

    assert operation.lane is (Lane.INTERACTIVE if awaited else Lane.BACKGROUND)
    assert operation.identity is Identity.WHILE_ACTIVE


@settings(deadline=None, max_examples=100)
@given(name=st.text(max_size=40) | st.sampled_from(["restore", "restore.", "RESTORE.EXECUTE", "restore.execute "]))
def test_any_other_name_is_refused_with_its_code(name: str) -> None:
    if name in OPERATIONS:
        return
    with pytest.raises(PermanentError) as caught:
        operation_named(name)
    assert caught.value.code is SafeCode.OPERATION_UNKNOWN


def test_a_role_may_do_what_a_weaker_one_may() -> None:
    assert sorted(Role, key=lambda role: role.rank) == [Role.READONLY, Role.OPERATOR, Role.MANAGER, Role.OWNER]
