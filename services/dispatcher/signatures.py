"""Who sends a command, and whether this system may: asked before anything is done for it (ADR 29)."""

from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol
from uuid import UUID

from shared.contracts.commands import AbortRun, Start, StartBulkOperationRun, StartRestoreRun
from shared.contracts.signatures import TENANT, Signed, claim_of
from shared.domain.errors import PermanentError, ReinstateError, SafeCode
from shared.domain.upstreams import ABORT, SignatureRules, VerificationKey, not_allowed
from shared.front_door import RedriveRepository, VerificationKeys
from shared.messaging.envelope import Envelope
from shared.messaging.rights import upstream_of
from shared.messaging.signing import is_signed


class RedriveTransaction(Protocol):
    """A transaction that can tell which old commands somebody answers for."""

    @property
    def redrives(self) -> RedriveRepository:
        """Which old commands somebody answers for."""
        ...


class RedriveUnitOfWork(Protocol):
    """Opens transactions for looking at redrives."""

    def begin(self, tenant_id: UUID) -> AbstractAsyncContextManager[RedriveTransaction]:
        """Begin a transaction for one tenant."""
        ...


class Signatures:
    """Checks signatures of commands against the registry."""

    def __init__(self, keys: VerificationKeys, uow: RedriveUnitOfWork, rules: SignatureRules) -> None:
        """Look keys up in `keys`; what is too old is asked for in `uow`: an operator may answer for its age."""
        self._keys = keys
        self._uow = uow
        self._rules = rules

    async def check(self, command: Start | AbortRun, envelope: Envelope) -> str | None:
        """Return the upstream that proved to be the sender; None for an unsigned command where that is allowed.

        Raises `PermanentError` with a `signature.*` or `upstream.*` code for what must not be carried out, and
        `TransientError` where nobody can tell now.
        """
        claim = claim_of(
            envelope.headers,
            message_id=envelope.message_id,
            kind=envelope.type,
            body_sha256=envelope.body_sha256,
        )
        if claim is None:
            if self._rules.required:
                raise PermanentError(SafeCode.SIGNATURE_MISSING)
            return None
        signed = claim.signed
        found = await self._keys.find(signed.key_id)
        if found is None:
            raise PermanentError(SafeCode.SIGNATURE_KEY_UNKNOWN, key_id=signed.key_id)
        key = found.key
        if not is_signed(signed, claim.signature, key.public_key):
            raise PermanentError(SafeCode.SIGNATURE_INVALID, key_id=key.id)
        if signed.tenant != command.tenant_id:
            raise _refusal(SafeCode.SIGNATURE_INVALID, key, field=TENANT)
        if upstream_of(envelope.user_id) not in (None, key.upstream):
            raise _refusal(SafeCode.UPSTREAM_NOT_THE_PUBLISHER, key)
        await self._check_times(signed, key, found.now)
        operation = operation_of(command)
        code = not_allowed(key.grants, command.tenant_id, operation)
        if code is not None:
            raise _refusal(code, key, operation=operation)
        return key.upstream

    async def _check_times(self, signed: Signed, key: VerificationKey, now: datetime) -> None:
        if key.revoked_at is not None:
            raise _refusal(SafeCode.SIGNATURE_KEY_REVOKED, key)
        late = self._rules.untimely(signed.moment, now)
        redriven = late is SafeCode.SIGNATURE_TOO_OLD and await self._is_redriven(signed)
        if late is not None and not redriven:
            raise _refusal(late, key)
        code = self._rules.invalid(key, signed.moment, now, redriven=redriven)
        if code is not None:
            raise _refusal(code, key)

    async def _is_redriven(self, signed: Signed) -> bool:
        """Tell whether an operator answers for the age of exactly this message, since a short while."""
        async with self._uow.begin(signed.tenant) as tx:
            return await tx.redrives.is_authorised(
                signed.message_id, signed.body_sha256, within_seconds=self._rules.max_age.total_seconds()
            )


def operation_of(command: Start | AbortRun) -> str:
    """Name what a command wants, as grants do. What does not exist is granted to nobody."""
    match command:
        case AbortRun():
            return ABORT
        case StartRestoreRun():
            return "restore.preview" if command.is_dry_run else "restore.execute"
        case StartBulkOperationRun():
            return f"{command.resource}.{command.action}"
        case _:
            raise PermanentError(SafeCode.OPERATION_UNKNOWN)


def _refusal(code: SafeCode, key: VerificationKey, **context: str) -> ReinstateError:
    return PermanentError(code, key_id=key.id, upstream=key.upstream, **context)
