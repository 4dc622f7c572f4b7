"""A command from the broker: its sender proven, then carried out or refused for good."""

from services.dispatcher.handlers import Door, Source, abort_run, note_refusal
from services.dispatcher.metrics import Metrics
from services.dispatcher.ports import StartUnitOfWork
from services.dispatcher.signatures import Signatures
from services.dispatcher.starts import Starts
from shared.contracts.commands import AbortRun, Start
from shared.domain.errors import PoisonMessage, ReinstateError, SafeCode, TransientError
from shared.messaging.envelope import Envelope


async def carry_out(
    command: Start | AbortRun,
    envelope: Envelope,
    *,
    signatures: Signatures,
    uow: StartUnitOfWork,
    starts: Starts,
    metrics: Metrics,
) -> None:
    """Start or abort as told; return when it is committed.

    Raises `PoisonMessage` with the safe code of a refusal, which parks the command, and `TransientError`, which brings
    it back later.
    """
    if not envelope.message_id.isprintable():
        raise PoisonMessage(SafeCode.MESSAGE_UNDECODABLE, field="message_id")
    source = Source(Door.COMMANDS, envelope.message_id, envelope.user_id or "upstream")
    # Until its sender is proven, whom a command names as asking is nothing to put into the audit trail.
    believed = command.model_copy(update={"requested_by": None})
    try:
        sender = await signatures.check(command, envelope)
        believed = command
        source = Source(Door.COMMANDS, envelope.message_id, sender or source.requester)
        if isinstance(command, AbortRun):
            await abort_run(command, source=source, uow=uow)
        else:
            started = await starts.start(command, source)
            outcome = "created" if started.created else "replayed" if started.replayed else "reused"
            metrics.starts.labels(source.door.value, started.run.operation, outcome).inc()
    except TransientError:
        raise
    except ReinstateError as error:
        metrics.refusals.labels(source.door.value, error.code.value).inc()
        await note_refusal(believed, error, source=source, uow=uow)
        raise PoisonMessage(error.code, **error.context) from None
