"""Wires the bulk worker. Start it with `faststream run --factory services.bulk_worker.app:create_app`."""

from services.bulk_worker.operations.catalogue import bulk_works
from services.bulk_worker.settings import BulkWorkerSettings
from services.bulk_worker.subscribers import subscribe
from shared.connectors.factory import AllConnectors
from shared.contracts.names import ServiceName
from shared.engine.worker import worker_application
from shared.messaging.application import Application


def create_app(settings: BulkWorkerSettings | None = None) -> Application:
    """Build the application; settings come from the environment unless given."""
    settings = settings or BulkWorkerSettings()
    limit, connectors = settings.bulk_archive_limit, AllConnectors()
    return worker_application(
        ServiceName.BULK, settings, lambda uow: bulk_works(uow, connectors, archive_limit=limit), subscribe
    )
