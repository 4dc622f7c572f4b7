"""What the dispatcher hears."""

from services.dispatcher.commands import carry_out
from services.dispatcher.metrics import Metrics
from services.dispatcher.ports import StartUnitOfWork
from services.dispatcher.rates import Rates
from services.dispatcher.refusals import Refusals
from services.dispatcher.signatures import Signatures
from services.dispatcher.starts import Starts
from shared.contracts.commands import AbortRun, StartBulkOperationRun, StartRestoreRun
from shared.contracts.names import Queue
from shared.messaging.envelope import Envelope
from shared.messaging.intake import Intake

Command = StartRestoreRun | StartBulkOperationRun | AbortRun


def subscribe(
    intake: Intake,
    uow: StartUnitOfWork,
    starts: Starts,
    signatures: Signatures,
    metrics: Metrics,
    rates: Rates,
    refusals: Refusals,
    *,
    prefetch: int,
) -> None:
    """Take commands; each is acknowledged after its commit."""
    models: tuple[type[Command], ...] = (StartRestoreRun, StartBulkOperationRun, AbortRun)

    @intake.subscriber(Queue.DISPATCHER_COMMANDS, *models, prefetch=prefetch)
    async def on_command(command: Command, envelope: Envelope) -> None:
        await carry_out(
            command,
            envelope,
            signatures=signatures,
            uow=uow,
            starts=starts,
            metrics=metrics,
            rates=rates,
            refusals=refusals,
        )
