"""Which model travels under which AMQP `type`: what a consumer reads with, and what the documents list."""

from types import MappingProxyType

from shared.contracts.base import Contract
from shared.contracts.commands import AbortRun, StartBulkOperationRun, StartRestoreRun
from shared.contracts.events import RunEvent
from shared.contracts.names import CommandKey, MessageType
from shared.contracts.work import WakeUp

Command = StartRestoreRun | StartBulkOperationRun | AbortRun

MODELS: MappingProxyType[MessageType, type[Contract]] = MappingProxyType(
    {
        MessageType.START_RESTORE_RUN: StartRestoreRun,
        MessageType.START_BULK_OPERATION_RUN: StartBulkOperationRun,
        MessageType.ABORT_RUN: AbortRun,
        MessageType.WAKE_UP: WakeUp,
        MessageType.RUN_EVENT: RunEvent,
    }
)

COMMAND_KEYS: MappingProxyType[MessageType, CommandKey] = MappingProxyType(
    {
        MessageType.START_RESTORE_RUN: CommandKey.START_RESTORE_RUN,
        MessageType.START_BULK_OPERATION_RUN: CommandKey.START_BULK_OPERATION_RUN,
        MessageType.ABORT_RUN: CommandKey.ABORT_RUN,
    }
)


def type_of(message: Contract) -> MessageType:
    """Return the `type` that a message travels under; raise `KeyError` for a model that is not a message."""
    return _TYPES[type(message)]


def encode(message: Contract) -> bytes:
    """Return the body of a message. Unset optional fields are left out."""
    return message.model_dump_json(exclude_none=True).encode()


_TYPES = {model: kind for kind, model in MODELS.items()}
