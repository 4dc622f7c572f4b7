"""The bulk worker as it is shipped, with the no-op in place of one operation: `python -m benchmarks.worker`."""

from collections.abc import Mapping

from benchmarks.noop import OPERATION, NoOp
from cli.console import run
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
from shared.runtime.garbage import collect_from_now_on


def create_app() -> Application:
    """Build the application; settings come from the environment."""

    def works(uow: SqlUnitOfWork) -> Mapping[str, Work]:
        return {OPERATION: NoOp(uow, AllConnectors(budgets_of(uow, graph_limits())), limit=1)}

    return worker_application(ServiceName.BULK, BulkWorkerSettings(), works, subscribe)


if __name__ == "__main__":
    app = create_app()
    collect_from_now_on()
    run(app.run())
