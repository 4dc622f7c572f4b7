"""What a message in a dead queue says about itself: where it came from, why it is there, which run it is about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import ValidationError

from shared.contracts.base import Contract
from shared.contracts.catalogue import MODELS
from shared.contracts.names import Exchange, MessageType, ServiceName
from shared.domain.dead_messages import OUTBOX, DeadMessage
from shared.domain.errors import SafeCode
from shared.domain.input_limits import MESSAGE, Bound, TooMuch, parse_json
from shared.domain.runs import RunType
from shared.messaging.envelope import (
    ATTEMPT,
    FAILED_AT,
    FIELD,
    OLD_HEADERS,
    ORIGINAL_EXCHANGE,
    ORIGINAL_KEY,
    ORIGINAL_QUEUE,
    ORIGINAL_USER,
    REASON,
    attempt_of,
)
from shared.messaging.publisher import Delivery
from shared.messaging.rights import vouched_origins
from shared.messaging.topology import RETRY_QUEUE, RETRY_TIER

if TYPE_CHECKING:
    from aio_pika.abc import AbstractIncomingMessage

SHOWN_FIELDS = 50
SHOWN_NAME = 60  # characters of a field's name: it may be anybody's
_OF_THE_JOURNEY = (*OLD_HEADERS, "x-acquired", ATTEMPT, REASON, FIELD, FAILED_AT, RETRY_TIER, RETRY_QUEUE)
_REPLAYABLE = frozenset({Exchange.COMMANDS.value, Exchange.WORK.value, Exchange.EVENTS.value})
_REASONS = {"delivery_limit": SafeCode.MESSAGE_DELIVERY_LIMIT}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a message was sent first, by whom, and the queue it waited in."""

    exchange: str
    routing_key: str
    queue: str
    user: str | None


@dataclass(frozen=True)
class Letter:
    """A message of a dead queue. `body` is never shown as it is."""

    queue: str
    message_id: str | None
    type: str
    code: SafeCode
    unreadable: str | None  # the field of ours that could not be read
    origin: Origin
    failed_at: datetime | None
    sent_at: datetime | None
    attempt: int
    deliveries: int  # so far, of this copy: looks count up to RabbitMQ 4.2
    correlation_id: str | None
    app_id: str | None
    content_type: str | None
    headers: Mapping[str, Any] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def service(self) -> ServiceName | None:
        """Who failed on it, or could not send it; None when nobody got it."""
        name = (self.app_id or "").rpartition(".")[2] if self.queue == OUTBOX else self.queue.partition(".")[0]
        return ServiceName(name) if name in set(ServiceName) else None

    @property
    def since(self) -> datetime | None:
        """Since when it waits, as far as it says."""
        return self.failed_at or self.sent_at

    @cached_property
    def content(self) -> Contract | None:
        """The contract model in the body, with its known fields only; None when it cannot be read."""
        model = MODELS.get(MessageType(self.type)) if self.type in set(MessageType) else None
        try:
            return model.model_validate_json(self.body) if model else None
        except ValidationError:
            return None

    @property
    def tenant_id(self) -> UUID | None:
        """The tenant it is about, as it says: it may be none of ours."""
        named = getattr(self.content, "tenant_id", None) or self.headers.get("tenantid")
        try:
            return named if isinstance(named, UUID) else UUID(str(named)) if named else None
        except ValueError:
            return None

    @property
    def run(self) -> tuple[RunType, UUID] | None:
        """The run it is about, if it names one."""
        run_type, run_id = getattr(self.content, "run_type", None), getattr(self.content, "run_id", None)
        return (run_type, run_id) if isinstance(run_type, RunType) and isinstance(run_id, UUID) else None

    @property
    def hindrance(self) -> str | None:
        """Say why it cannot be sent again; None when it can."""
        if not self.message_id:
            return "it has no id, so nobody could tell it from its repetition"
        if self.origin.exchange not in _REPLAYABLE:
            return "where it came from is not certain; sign in as the broker user operator"
        return None

    def again(self) -> Delivery:
        """Build the message as it was sent first; it keeps the memory of who sent it, and starts at attempt 1."""
        return self._delivery(self.origin.exchange, self.origin.routing_key, {})

    def aside(self, exchange: str, routing_key: str) -> Delivery:
        """Build the same message for another dead queue, with its reason."""
        why: dict[str, Any] = {REASON: self.code.value}
        if self.failed_at:
            why[FAILED_AT] = self.failed_at.isoformat(timespec="seconds")
        if self.unreadable:
            why[FIELD] = self.unreadable
        return self._delivery(exchange, routing_key, why)

    def _delivery(self, exchange: str, routing_key: str, why: Mapping[str, Any]) -> Delivery:
        kept = {key: value for key, value in self.headers.items() if not key.startswith(_OF_THE_JOURNEY)}
        first = {
            ORIGINAL_EXCHANGE: self.origin.exchange,
            ORIGINAL_KEY: self.origin.routing_key,
            ORIGINAL_QUEUE: self.origin.queue,
        }
        if self.origin.user:
            first[ORIGINAL_USER] = self.origin.user
        return Delivery(
            exchange=exchange,
            routing_key=routing_key,
            body=self.body,
            headers={**kept, **first, **why},
            message_id=self.message_id,
            type=self.type or None,
            correlation_id=self.correlation_id,
            timestamp=self.sent_at or datetime.now(UTC),
            content_type=self.content_type,
            app_id=self.app_id,
        )

    def shape(self) -> str | list[str]:
        """Name the body's fields with their kinds, never a value; a text says why there are none."""
        try:
            value = parse_json(self.body, MESSAGE)
        except TooMuch as much:
            is_text = much.bound is not Bound.ENCODING
            return f"not read: {much.bound.value} exceeds what a message has" if is_text else "not JSON"
        except ValueError:
            return "not JSON"
        if not isinstance(value, dict):
            return f"JSON, {_kind(value)}"
        return [f"{_shown(name)}: {_kind(inner)}" for name, inner in list(value.items())[:SHOWN_FIELDS]]

    def noted(self) -> DeadMessage | None:
        """What its run shows of it; None when it has no id that a row could hold."""
        if not self.message_id or not self.message_id.isprintable():
            return None
        run_type, run_id = self.run or (None, None)
        return DeadMessage(
            queue=self.queue,
            message_id=self.message_id,
            type=_shown(self.type),
            service=self.service.value if self.service else None,
            run_type=run_type,
            run_id=run_id,
            code=self.code,
            first_failed_at=self.since,
        )


def letter_of(message: "AbstractIncomingMessage", queue: str, own_user: str) -> Letter:
    """Read a message of a dead queue. Never raises: whatever is in it, it has to be shown."""
    headers = dict(message.headers)
    death = _last_death(headers)
    sent_at = message.timestamp
    return Letter(
        queue=queue,
        message_id=message.message_id or None,
        type=message.type or "",
        code=_code(headers, death),
        unreadable=_text(headers.get(FIELD)),
        origin=_origin(message, death, own_user),
        failed_at=_time(headers.get(FAILED_AT)) or _time(death.get("time")),
        sent_at=sent_at,
        attempt=attempt_of(message),
        deliveries=_count(headers.get("x-acquired-count", headers.get("x-delivery-count"))),
        correlation_id=message.correlation_id,
        app_id=message.app_id,
        content_type=message.content_type,
        headers=headers,
        body=message.body,
    )


def _last_death(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the broker says about the latest queue that the message left for a dead one; empty when a service sent it.

    A waiting room that it passed on the way says `expired`.
    """
    deaths = headers.get("x-death")
    last = deaths[0] if isinstance(deaths, list) and deaths else None
    return last if isinstance(last, dict) and last.get("reason") != "expired" else {}


def _code(headers: Mapping[str, Any], death: Mapping[str, Any]) -> SafeCode:
    if death:  # the header is of an earlier attempt
        return _REASONS.get(str(death.get("reason")), SafeCode.INTERNAL_UNEXPECTED)
    reason = headers.get(REASON)
    return SafeCode(reason) if reason in set(SafeCode) else SafeCode.MESSAGE_UNROUTABLE


def _origin(message: "AbstractIncomingMessage", death: Mapping[str, Any], own_user: str) -> Origin:
    headers = message.headers
    if _text(headers.get(ORIGINAL_EXCHANGE)) in vouched_origins(message.user_id, own_user):
        exchange, key, queue = (
            _text(headers.get(name)) or "" for name in (ORIGINAL_EXCHANGE, ORIGINAL_KEY, ORIGINAL_QUEUE)
        )
        return Origin(exchange, key, queue, _text(headers.get(ORIGINAL_USER)))
    if death:
        keys = death.get("routing-keys")
        key = _text(keys[0]) or "" if isinstance(keys, list) and keys else ""
        exchange, queue = _text(death.get("exchange")) or "", _text(death.get("queue")) or ""
        return Origin(exchange, key, queue, message.user_id)
    return Origin(message.exchange or "", message.routing_key or "", "", message.user_id)


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) and value else None


def _time(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return None
    if not isinstance(moment, datetime):
        return None
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:  # no day in UTC
        return None


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _shown(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name[:SHOWN_NAME])


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "number"
        case str():
            return "text"
        case list():
            return f"list of {len(value)}"
        case _:
            return "object"
