"""The table of capabilities. The laws stand here in other words than in the code, so that a slip shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.capabilities import GRANTS, Capability, Role
from shared.domain.operations import OPERATIONS, Operation

# What each role has that no weaker one has.
LADDER = {
    Role.READONLY: {"tenant.view", "run.view", "backup.view", "archive.download"},
    Role.OPERATOR: {"inventory.refresh", "backup.create", "backup.export"},
    Role.MANAGER: {"backup.import", "restore.preview", "restore.execute", "work.pause"},
    Role.OWNER: set[str](),
}


def test_every_capability_has_a_line_of_the_table_that_says_what_it_is() -> None:
    assert set(GRANTS) == set(Capability)
    assert [capability for capability in Capability if not capability.text] == []


@pytest.mark.parametrize("role", Role)
def test_a_role_has_what_the_ladder_says(role: Role) -> None:
    has = {capability.value for capability in Capability if role.may(capability)}
    of_weaker_ones = {name for weaker in Role if weaker.rank <= role.rank for name in LADDER[weaker]}

    assert has == of_weaker_ones | {"notification.own", "session.own"}


@given(capability=st.sampled_from(Capability), weak=st.sampled_from(Role), strong=st.sampled_from(Role))
def test_whatever_a_role_may_a_stronger_one_may(capability: Capability, weak: Role, strong: Role) -> None:
    if weak.may(capability) and strong.rank >= weak.rank:
        assert strong.may(capability)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=list(OPERATIONS))
def test_an_operation_has_the_role_of_its_capability_and_none_is_for_readers(operation: Operation) -> None:
    assert operation.role is operation.capability.role
    assert operation.role is not None
    assert not Role.READONLY.may(operation.capability)
