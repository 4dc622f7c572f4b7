"""Why a run that waited is not begun after all: classes of denials, and whether the same run may be allowed later.

A run that is denied ends `failed` with the code, before anything of the tenant's was touched; its audit line says
`blocked`. Asked when a worker takes the run up (`shared.persistence.authority`), since it may have waited for hours.
"""

from collections.abc import Mapping
from enum import StrEnum

from shared.domain.errors import ContextValue, SafeCode


class DenialClass(StrEnum):
    """What a denial is about."""

    SCOPE = "scope"  # the run and its tenant do not belong together
    CAPABILITY = "capability"  # the initiator's role is not strong enough any more
    INITIATOR = "initiator"  # the initiator is gone, disabled or no member any more
    TENANT = "tenant"  # the tenant is suspended
    PREREQUISITE = "prerequisite"  # how the tenant is reached is not set up

    @property
    def is_retryable(self) -> bool:
        """True where time or an administrator may mend it, so that the same person may start the same again."""
        return self in (DenialClass.TENANT, DenialClass.PREREQUISITE)


DENIALS: dict[SafeCode, DenialClass] = {
    SafeCode.SCOPE_TENANT_MISMATCH: DenialClass.SCOPE,
    SafeCode.AUTHZ_TENANT_MISSING: DenialClass.SCOPE,
    SafeCode.OPERATION_UNKNOWN: DenialClass.CAPABILITY,  # nobody has a capability for what is not in the table
    SafeCode.AUTHZ_MISSING_CAPABILITY: DenialClass.CAPABILITY,
    SafeCode.AUTHZ_INITIATOR_MISSING: DenialClass.INITIATOR,
    SafeCode.AUTHZ_INITIATOR_NOT_ENTITLED: DenialClass.INITIATOR,
    SafeCode.AUTHZ_TENANT_NOT_OPERABLE: DenialClass.TENANT,
    SafeCode.TENANT_CONNECTION_INVALID: DenialClass.PREREQUISITE,
}


def denial_context(code: SafeCode) -> Mapping[str, ContextValue]:
    """Return what a denied run says beside its code."""
    denial = DENIALS[code]
    return {"reason": denial.value, "retryable": denial.is_retryable}
