"""Wires the bulk worker. Start it with `faststream run --factory services.bulk_worker.app:create_app`."""

from collections.abc import Mapping

from services.bulk_worker.operations.catalogue import bulk_works
from services.bulk_worker.settings import BulkWorkerSettings
from services.bulk_worker.subscribers import subscribe
from shared.connectors.factory import AllConnectors
from shared.connectors.graph.pace import graph_limits
from shared.contracts.names import ServiceName
from shared.engine.budget import budgets_of
from shared.engine.work import Work
from shared.engine.worker import worker_application
from shared.messaging.application import Application
from shared.persistence.unit_of_work import SqlUnitOfWork


def create_app(settings: BulkWorkerSettings | None = None) -> Application:
    """Build the application; settings come from the environment unless given."""
    settings = settings or BulkWorkerSettings()
    limits = graph_limits(
        settings.graph_budget_share, writes=settings.graph_write_limit, requests=settings.graph_request_limit
    )

    def works(uow: SqlUnitOfWork) -> Mapping[str, Work]:
        connectors = AllConnectors(budgets_of(uow, limits))
        return bulk_works(uow, connectors, archive_limit=settings.bulk_archive_limit)

    return worker_application(ServiceName.BULK, settings, works, subscribe)
