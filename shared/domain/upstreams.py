"""Upstream systems that publish commands: what their keys may sign, and for how long. The law of a signed command."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from shared.domain.errors import SafeCode
from shared.domain.operations import OPERATIONS

ABORT = "run.abort"  # beside the operations, something that an upstream may be allowed
ALLOWABLE = frozenset({*OPERATIONS, ABORT})


@dataclass(frozen=True, slots=True)
class Grants:
    """What an upstream may do. `tenants` None: for every tenant, which somebody chose explicitly."""

    tenants: frozenset[UUID] | None
    operations: frozenset[str]

    def __post_init__(self) -> None:
        """Refuse grants that name nothing, or what does not exist: an empty set must not come to mean everything."""
        if self.tenants is not None and not self.tenants:
            raise ValueError("name a tenant, or all of them explicitly")
        if not self.operations or not self.operations <= ALLOWABLE:
            raise ValueError(f"an operation is one of {', '.join(sorted(ALLOWABLE))}")


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """The public half of an upstream's key pair (Ed25519, 32 bytes). `valid_until` is the first moment without it."""

    id: str
    upstream: str
    public_key: bytes = field(repr=False)
    grants: Grants
    valid_from: datetime
    valid_until: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SignatureRules:
    """How old a signature may be, by how much clocks may differ, and whether commands without one are refused."""

    required: bool = True
    max_age: timedelta = timedelta(hours=1)
    tolerance: timedelta = timedelta(minutes=5)

    def untimely(self, signed_at: datetime, now: datetime) -> SafeCode | None:
        """Say why a signature of this time is not taken now."""
        if signed_at > now + self.tolerance:
            return SafeCode.SIGNATURE_FROM_THE_FUTURE
        if signed_at < now - self.max_age - self.tolerance:
            return SafeCode.SIGNATURE_TOO_OLD
        return None

    def invalid(self, key: VerificationKey, signed_at: datetime, now: datetime, *, redriven: bool) -> SafeCode | None:
        """Say why the key is not good for a signature of this time.

        A revoked key is good for nothing, whenever it signed. An expired one signs nothing any more; what it signed
        before is good only where an operator answers for the command's age (`redriven`).
        """
        if key.revoked_at is not None:
            return SafeCode.SIGNATURE_KEY_REVOKED
        if signed_at < key.valid_from - self.tolerance:
            return SafeCode.SIGNATURE_KEY_NOT_YET_VALID
        if signed_at >= key.valid_until or (now >= key.valid_until and not redriven):
            return SafeCode.SIGNATURE_KEY_EXPIRED
        return None


def not_allowed(grants: Grants, tenant_id: UUID, operation: str) -> SafeCode | None:
    """Say why an upstream with these grants may not have this done."""
    if grants.tenants is not None and tenant_id not in grants.tenants:
        return SafeCode.UPSTREAM_TENANT_NOT_ALLOWED
    return None if operation in grants.operations else SafeCode.UPSTREAM_OPERATION_NOT_ALLOWED
