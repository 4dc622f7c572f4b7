"""Wires the restore worker. Start it with `faststream run --factory services.restore_worker.app:create_app`."""

from datetime import timedelta

from services.restore_worker.operations import restore_works
from services.restore_worker.settings import RestoreWorkerSettings
from services.restore_worker.subscribers import subscribe
from shared.connectors.factory import AllConnectors
from shared.contracts.names import ServiceName
from shared.engine.worker import worker_application
from shared.messaging.application import Application


def create_app(settings: RestoreWorkerSettings | None = None) -> Application:
    """Build the application; settings come from the environment unless given."""
    settings = settings or RestoreWorkerSettings()
    grace, connectors = timedelta(seconds=settings.restore_intent_grace_seconds), AllConnectors()
    return worker_application(
        ServiceName.RESTORE, settings, lambda uow: restore_works(uow, connectors, intent_grace=grace), subscribe
    )
