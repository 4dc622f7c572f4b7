"""Names on the wire: exchanges, routing keys, message types. The topology and every publisher read them here.

Tenant ids are never part of a name: they would explode the number of metric series.
"""

from enum import StrEnum

from shared.domain.runs import Lane, RunStatus, RunType

MAX_BODY_BYTES = 64 * 1024  # of any message; larger things travel as ids


class Exchange(StrEnum):
    """Every exchange, all durable."""

    COMMANDS = "commands"
    WORK = "work"
    EVENTS = "events"
    RETRY = "retry"
    REQUEUE = "requeue"  # the way back from a retry tier to the one queue that asked for it
    DEAD_LETTER = "dead-letter"
    UNROUTED = "unroutable"  # not as its queue: who may read that could bind this one to others


class ServiceName(StrEnum):
    """The services as the broker shows them; `restore` and `bulk` stand for `restore_worker` and `bulk_worker`."""

    DISPATCHER = "dispatcher"
    RESTORE = "restore"
    BULK = "bulk"
    NOTIFIER = "notifier"

    @property
    def dead(self) -> str:
        """The queue for messages that the service failed on."""
        return f"{self.value}.dead"

    @property
    def parked(self) -> str:
        """The queue for messages that the service cannot read."""
        return f"{self.value}.parked"


class Queue(StrEnum):
    """The queues that services consume from; the text before the dot is the service."""

    DISPATCHER_COMMANDS = "dispatcher.commands"
    RESTORE_INTERACTIVE = "restore.interactive"
    RESTORE_BACKGROUND = "restore.background"
    BULK_INTERACTIVE = "bulk.interactive"
    BULK_BACKGROUND = "bulk.background"
    NOTIFIER_EVENTS = "notifier.events"

    @property
    def service(self) -> ServiceName:
        """Who consumes it."""
        return ServiceName(self.value.partition(".")[0])


UNROUTED_QUEUE = "unrouted"


class MessageType(StrEnum):
    """The AMQP `type` property and CloudEvents type; a breaking change is a new one."""

    START_RESTORE_RUN = "reinstate.restore_run.start.v1"
    START_BULK_OPERATION_RUN = "reinstate.bulk_operation_run.start.v1"
    ABORT_RUN = "reinstate.run.abort.v1"
    WAKE_UP = "reinstate.run.wake_up.v1"
    RUN_EVENT = "reinstate.run.event.v1"


class CommandKey(StrEnum):
    """Routing keys on `commands`."""

    START_RESTORE_RUN = "restore_run.start"
    START_BULK_OPERATION_RUN = "bulk_operation_run.start"
    ABORT_RUN = "run.abort"


PROGRESS = "progress"


def work_key(run_type: RunType, lane: Lane) -> str:
    """Routing key on `work`; also the name of the queue behind it: `restore.interactive` and so on."""
    worker = "restore" if run_type is RunType.RESTORE else "bulk"
    return f"{worker}.{lane.value}"


def event_key(run_type: RunType, status: RunStatus | None) -> str:
    """Routing key on `events`: `restore_run.queued`; None stands for progress."""
    return f"{run_type.value}.{status.value if status else PROGRESS}"
