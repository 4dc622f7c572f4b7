import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.backups import CaptureWarning
from shared.domain.checks import HIGH_RISK, NOTHING_FOUND, SEVERITIES, Check, Severity, checks_of
from shared.domain.errors import SafeCode
from shared.domain.plans import PlanAction


@given(
    action=st.sampled_from(PlanAction),
    code=st.none() | st.sampled_from(SafeCode),
    warnings=st.lists(st.sampled_from([one.value for one in CaptureWarning] + ["restore.mapping_unsafe", "later"])),
    risky=st.booleans(),
)
def test_an_entry_is_blocked_exactly_where_a_check_blocks_and_has_each_finding_once(
    action: PlanAction, code: SafeCode | None, warnings: list[str], *, risky: bool
) -> None:
    checks = checks_of(action, code, warnings, is_high_risk=risky)
    is_blocked = action is PlanAction.BLOCKED and code is not None
    assert any(check.severity is Severity.BLOCKING for check in checks) == is_blocked
    codes = [check.code for check in checks]
    assert len(codes) == len(set(codes)) > 0
    assert {*warnings, *([code.value] if code else [])} <= set(codes)


def test_a_reference_that_leads_nowhere_blocks_a_write_and_only_warns_of_assignments_that_are_left_out() -> None:
    unsafe = SafeCode.RESTORE_MAPPING_UNSAFE
    blocked = checks_of(PlanAction.BLOCKED, unsafe, [], is_high_risk=False)
    warned = checks_of(PlanAction.CREATE, None, [unsafe.value], is_high_risk=False)
    assert (blocked, warned) == ((Check(unsafe, Severity.BLOCKING),), (Check(unsafe, Severity.WARNING),))


@pytest.mark.parametrize("action", PlanAction)
def test_a_risky_type_is_a_warning_where_it_would_be_written(action: PlanAction) -> None:
    expected = Check(HIGH_RISK, Severity.WARNING) if action.writes else Check(NOTHING_FOUND, Severity.SAFE)
    assert checks_of(action, None, [], is_high_risk=True) == (expected,)


def test_what_is_unknown_is_a_warning_and_what_a_capture_warns_of_is_in_the_table() -> None:
    assert checks_of(PlanAction.UPDATE, None, ["later"], is_high_risk=False) == (Check("later", Severity.WARNING),)
    assert {one.value for one in CaptureWarning} <= SEVERITIES.keys()
