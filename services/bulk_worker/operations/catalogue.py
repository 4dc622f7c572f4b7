"""Which operation does what."""

from collections.abc import Mapping

from services.bulk_worker.operations.backup_set import AddPolicies, CreateBackupSet
from services.bulk_worker.operations.capture_snapshot import CaptureSnapshot
from services.bulk_worker.operations.export import ExportBackupSet, ExportPolicies
from services.bulk_worker.operations.sync import SyncPolicies
from services.bulk_worker.ports import BulkUnitOfWork
from shared.connectors.port import Connectors
from shared.engine.work import Work

DEFAULT_ARCHIVE_LIMIT = 512 * 1024 * 1024  # bytes


def bulk_works(
    uow: BulkUnitOfWork, connectors: Connectors, *, archive_limit: int = DEFAULT_ARCHIVE_LIMIT
) -> Mapping[str, Work]:
    """Return every bulk operation by its name in `shared.domain.operations`. `archive_limit` in bytes."""
    return {
        "policy.sync": SyncPolicies(uow, connectors),
        "policy.capture_snapshot": CaptureSnapshot(uow, connectors),
        "policy.export": ExportPolicies(uow, connectors, limit=archive_limit),
        "backup_set.create": CreateBackupSet(uow, connectors),
        "backup_set.add_policies": AddPolicies(uow, connectors),
        "backup_set.export": ExportBackupSet(uow, connectors, limit=archive_limit),
    }
