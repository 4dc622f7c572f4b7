"""Whether a process works: looks at what it does, never at a ping, which stays true while nothing moves."""

import asyncio
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Protocol

import structlog

from shared.contracts.names import ServiceName
from shared.domain.errors import TransientError
from shared.messaging.intake import Intake
from shared.messaging.publisher import ConfirmedPublisher, PublishFailed
from shared.runtime.health import State
from shared.runtime.metrics import CONSUMING, OUTBOX_AGE, PUBLISHER_BLOCKED

log = structlog.get_logger(__name__)

_LOOK_EVERY = 1.0  # seconds between two looks at the consumers
_PATIENCE = 5.0  # seconds for a database that does not answer at all


class ConsumersLost(Exception):
    """The broker answers, and this process has no consumers there: only a fresh process helps."""


class Database(Protocol):
    """What is asked of the database."""

    async def serves(self) -> bool:
        """Tell whether the schema is one that this code works with; raise `TransientError` in an outage."""
        ...

    async def oldest_unsent(self) -> float:
        """Return how long this service's oldest due message waits, in seconds; raise `TransientError`."""
        ...


class ProcessVitals:
    """The parts of one process: `database`, `schema`, `outbox`, `relay` and `consumer`."""

    def __init__(
        self,
        service: ServiceName,
        database: Database,
        publisher: ConfirmedPublisher,
        intake: Intake,
        *,
        outbox_limit: timedelta,
    ) -> None:
        """`outbox_limit` is the age of a message from which on the outbox counts as stuck."""
        self._service = service
        self._database = database
        self._publisher = publisher
        self._intake = intake
        self._outbox_limit = outbox_limit.total_seconds()

    async def look(self) -> Mapping[str, State]:
        """Say of each part whether it works, and bring the gauges up to date."""
        parts: dict[str, State] = {"database": "ok", "schema": "ok", "outbox": "ok"}
        try:
            async with asyncio.timeout(_PATIENCE):
                if not await self._database.serves():
                    parts["schema"] = "failed"
                age = await self._database.oldest_unsent()
        except (TransientError, TimeoutError):
            parts = dict.fromkeys(parts, "failed")
            age = float("nan")
        if age > self._outbox_limit:
            parts["outbox"] = "waiting"
        parts["relay"] = await self._relay()
        parts["consumer"] = "ok" if self._intake.is_consuming else "waiting"
        OUTBOX_AGE.labels(self._service.value).set(age)
        CONSUMING.labels(self._service.value).set(parts["consumer"] == "ok")
        PUBLISHER_BLOCKED.labels(self._service.value).set(parts["relay"] == "blocked")
        return parts

    async def watch_consumers(self, patience: timedelta) -> None:
        """Raise `ConsumersLost` once the consumers have been gone for `patience` although the broker answers.

        A process that never had them waits: its start looks after that. A broker that is away is waited for, since
        the client comes back by itself and a fresh process could do no more; one that answers must have done so for
        half of the time already, or a broker that came back this moment would look like lost consumers. Time is counted
        in looks, so that a process that was frozen gets its time to reconnect.
        """
        limit = patience.total_seconds()
        pause = min(_LOOK_EVERY, limit / 4)
        gone_for, has_answered = 0.0, False
        while True:
            if self._intake.is_consuming:
                gone_for, has_answered = 0.0, False
            elif self._intake.has_consumed:
                gone_for += pause
            if gone_for >= limit / 2:
                answers = await self._intake.is_broker_there() and not self._intake.is_consuming
                if answers and has_answered:
                    log.critical("consumers.lost", seconds=round(limit, 1))
                    raise ConsumersLost
                gone_for, has_answered = 0.0, answers
            await asyncio.sleep(pause)

    async def _relay(self) -> State:
        if not self._publisher.is_connected:
            return "waiting"
        return "blocked" if await self._publisher.is_blocked() else "ok"


async def connected(publisher: ConfirmedPublisher, patience: timedelta) -> None:
    """Start the publisher as soon as the broker answers; raise `PublishFailed` when that takes too long."""
    deadline = time.monotonic() + patience.total_seconds()
    while True:
        try:
            await publisher.start()
        except PublishFailed:
            if time.monotonic() >= deadline:
                log.critical("broker.given_up", after_s=patience.total_seconds())
                raise
            log.warning("broker.waiting", at_most_s=round(deadline - time.monotonic(), 1))
            await asyncio.sleep(_LOOK_EVERY)
        else:
            return
