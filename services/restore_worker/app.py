"""Wires the restore worker. Start it with `faststream run --factory services.restore_worker.app:create_app`."""

from collections.abc import Mapping
from datetime import timedelta

from services.restore_worker.operations import restore_works
from services.restore_worker.settings import RestoreWorkerSettings
from services.restore_worker.subscribers import subscribe
from shared.connectors.factory import AllConnectors
from shared.connectors.graph.pace import graph_limits
from shared.contracts.names import ServiceName
from shared.engine.budget import budgets_of
from shared.engine.work import Work
from shared.engine.worker import worker_application
from shared.messaging.application import Application
from shared.persistence.unit_of_work import SqlUnitOfWork
from shared.persistence.walls.roles import DbRole


def create_app(settings: RestoreWorkerSettings | None = None) -> Application:
    """Build the application; settings come from the environment unless given."""
    settings = settings or RestoreWorkerSettings()
    grace = timedelta(seconds=settings.restore_intent_grace_seconds)
    limits = graph_limits(
        settings.graph_budget_share, writes=settings.graph_write_limit, requests=settings.graph_request_limit
    )

    def works(uow: SqlUnitOfWork) -> Mapping[str, Work]:
        connectors = AllConnectors(budgets_of(uow, limits))
        reading = uow.acting_as(DbRole.PREVIEW)
        return restore_works(uow, connectors, intent_grace=grace, preview_age=settings.preview_age, reading=reading)

    return worker_application(ServiceName.RESTORE, settings, works, subscribe)
