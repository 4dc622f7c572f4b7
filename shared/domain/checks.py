"""What was found about one entry of a plan, and how much it matters. One table says so, for every page and count."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.domain.backups import CaptureWarning
from shared.domain.errors import SafeCode
from shared.domain.plans import PlanAction


class Severity(StrEnum):
    """How much a finding matters, the worst first."""

    BLOCKING = "blocking"  # the entry is not carried out
    WARNING = "warning"  # a person should look before it is
    SAFE = "safe"  # nothing to decide


HIGH_RISK = "type.high_risk"  # a wrong write of this type can hurt much
NOTHING_FOUND = "plan.nothing_found"

# Of a code that stands beside an entry. The reason why an entry is blocked is blocking, whatever its code.
SEVERITIES: Mapping[str, Severity] = {
    SafeCode.RESTORE_PREVIEW_ONLY: Severity.WARNING,
    SafeCode.RESTORE_EXISTS_ALREADY: Severity.SAFE,
    SafeCode.RESTORE_TARGET_MISSING: Severity.WARNING,
    SafeCode.RESTORE_MAPPING_UNSAFE: Severity.WARNING,
    CaptureWarning.MASKED_SECRET: Severity.WARNING,
    CaptureWarning.ASSIGNMENTS_MISSING: Severity.WARNING,
    CaptureWarning.SETTINGS_MISSING: Severity.WARNING,
    CaptureWarning.SETTINGS_INCOMPLETE: Severity.WARNING,
    HIGH_RISK: Severity.WARNING,
    NOTHING_FOUND: Severity.SAFE,
}


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: a safe code or a word of this module, and what it means for the entry."""

    code: str
    severity: Severity

    def as_json(self) -> dict[str, str]:
        """Return it as it is stored."""
        return {"code": self.code, "severity": self.severity.value}


def checks_of(
    action: PlanAction, code: SafeCode | None, warnings: Sequence[str], *, is_high_risk: bool
) -> tuple[Check, ...]:
    """Return the findings of a plan entry, never none. A code that the table does not know is a warning at least."""
    found: dict[str, Severity] = {}
    if code is not None:
        found[code.value] = Severity.BLOCKING if action is PlanAction.BLOCKED else _severity(code.value)
    for warning in [*warnings, *([HIGH_RISK] if is_high_risk and action.writes else [])]:
        found.setdefault(warning, _severity(warning))
    return tuple(Check(one, severity) for one, severity in (found or {NOTHING_FOUND: Severity.SAFE}).items())


def _severity(code: str) -> Severity:
    return SEVERITIES.get(code, Severity.WARNING)
