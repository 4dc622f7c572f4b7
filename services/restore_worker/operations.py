"""The operations of this worker, by name."""

from collections.abc import Mapping
from datetime import timedelta

from services.restore_worker.execute import INTENT_GRACE, RestoreExecution
from services.restore_worker.ports import RestoreUnitOfWork
from services.restore_worker.preview import RestorePreview
from shared.connectors.port import Connectors
from shared.domain.freshness import PREVIEW_AGE
from shared.engine.work import Work


def restore_works(
    uow: RestoreUnitOfWork,
    connectors: Connectors,
    *,
    intent_grace: timedelta = INTENT_GRACE,
    preview_age: timedelta = PREVIEW_AGE,
    planner: str = "",
    reading: RestoreUnitOfWork | None = None,
) -> Mapping[str, Work]:
    """Return what each operation brings. A preview plans with what `reading` opens, unless there is none."""
    return {
        "restore.preview": RestorePreview(reading or uow, connectors, planner=planner),
        "restore.execute": RestoreExecution(
            uow, connectors, intent_grace=intent_grace, preview_age=preview_age, planner=planner
        ),
    }
