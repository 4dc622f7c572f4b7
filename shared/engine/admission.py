"""May a run that a worker has taken up be worked, or does it end before it begins?"""

from collections.abc import Callable, Container
from dataclasses import dataclass

from shared.connectors.port import TenantConnection
from shared.domain.errors import RunFatalError, SafeCode
from shared.domain.runs import RunStatus
from shared.engine.endings import denied, ended_early
from shared.persistence.authority import Authority
from shared.ports import Ending, Lease, RunRecord


@dataclass(frozen=True, slots=True)
class Admission:
    """Judges what is known once the lease is taken. `check_connection` raises `RunFatalError` for one that is unfit."""

    operations: Container[str]  # that this worker carries out
    max_abandoned: int  # times that whoever held the run may have gone without a word
    check_connection: Callable[[TenantConnection], None]

    def ending(self, lease: Lease, run: RunRecord, authority: Authority) -> Ending | None:
        """Return how the run ends before any work; None when it may be worked."""
        if run.abort_requested_at is not None:
            return Ending(RunStatus.ABORTED, SafeCode.RUN_ABORTED)
        if run.deadline_at is not None and run.deadline_at <= lease.granted_at:
            return ended_early(run, SafeCode.RUN_DEADLINE_EXCEEDED)
        if run.abandoned >= self.max_abandoned:
            return ended_early(run, SafeCode.RUN_STALE_RUNNING)
        return self._denial(run, authority)

    def _denial(self, run: RunRecord, authority: Authority) -> Ending | None:
        if authority.refusal is not None:
            return denied(run, authority.refusal)
        if run.operation not in self.operations:
            return denied(run, SafeCode.OPERATION_UNKNOWN)
        try:
            self.check_connection(authority.connection)
        except RunFatalError as error:
            return denied(run, error.code, error.context.get("field"))
        return None
