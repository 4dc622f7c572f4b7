"""A command from the broker: its sender proven, then carried out or refused for good."""

from services.dispatcher.handlers import Door, Source, abort_run, refusal_of
from services.dispatcher.metrics import Metrics
from services.dispatcher.ports import StartUnitOfWork
from services.dispatcher.rates import Rates
from services.dispatcher.refusals import Refusals
from services.dispatcher.signatures import Signatures
from services.dispatcher.starts import Starts
from shared.contracts.commands import AbortRun, Start
from shared.domain.errors import PermanentError, PoisonMessage, ReinstateError, SafeCode, TransientError
from shared.messaging.envelope import Envelope


async def carry_out(
    command: Start | AbortRun,
    envelope: Envelope,
    *,
    signatures: Signatures,
    uow: StartUnitOfWork,
    starts: Starts,
    metrics: Metrics,
    rates: Rates,
    refusals: Refusals,
) -> None:
    """Start or abort as told; return when it is committed.

    Raises `PoisonMessage` with the safe code of a refusal, which parks the command, and `TransientError`, which brings
    it back later; one that came too soon (`TooManyError`) as often as it takes.
    """
    if not envelope.message_id.isprintable():
        raise PoisonMessage(SafeCode.MESSAGE_UNDECODABLE, field="message_id")
    source = Source(Door.COMMANDS, envelope.message_id, envelope.user_id or "nobody")
    # Until its sender is proven, whom a command names as asking is nothing to put into the audit trail.
    believed = command.model_copy(update={"requested_by": None})
    try:
        if envelope.user_id is None:
            raise PermanentError(SafeCode.MESSAGE_SENDER_UNKNOWN)
        sender = await signatures.check(command, envelope)
        believed = command
        source = Source(Door.COMMANDS, envelope.message_id, sender or source.requester)
        if not isinstance(command, AbortRun):  # an abort takes load off
            rates.command(source.requester, command.tenant_id)
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
        await refusals.note(command.tenant_id, refusal_of(believed, error, source))
        raise PoisonMessage(error.code, **error.context) from None
