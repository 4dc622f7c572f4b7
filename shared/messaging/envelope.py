"""Reading a delivery: the contract model in its body, and the envelope around it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import ValidationError

from shared.contracts.catalogue import MODELS
from shared.contracts.names import MAX_BODY_BYTES, Queue
from shared.domain.errors import PoisonMessage, SafeCode
from shared.domain.input_limits import MESSAGE, Bound, TooMuch, check_json
from shared.messaging.publisher import Delivery
from shared.messaging.rights import Role, relatives

if TYPE_CHECKING:
    from aio_pika.abc import AbstractIncomingMessage

    from shared.contracts.base import Contract

ATTEMPT = "x-attempt"  # ours: what the broker counts differs between its versions
DEFERRED = "x-deferred"  # how often it came too soon; no failure, so no attempt
REASON = "x-reinstate-reason"
FIELD = "x-reinstate-field"
ORIGINAL_EXCHANGE = "x-reinstate-exchange"
ORIGINAL_KEY = "x-reinstate-routing-key"
ORIGINAL_QUEUE = "x-reinstate-queue"
ORIGINAL_USER = "x-reinstate-user-id"
FAILED_AT = "x-reinstate-failed-at"

_MODELS = {kind.value: model for kind, model in MODELS.items()}
_ORIGINALS = (ORIGINAL_EXCHANGE, ORIGINAL_KEY, ORIGINAL_QUEUE, ORIGINAL_USER)

# Of the last journey. The broker's own would confuse its search for cycles, and an outsider's word about where a
# message came from must not leave here under our name.
OLD_HEADERS = (
    "x-death",
    "x-first-death-",
    "x-last-death-",
    "x-delivery-count",
    "x-acquired-count",
    "retry-",
    *_ORIGINALS,
)


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a delivery says beside its body. Only `message_id` and `queue` are sure to be there.

    `user_id` was checked by the broker: it is the user whose connection published the message. `tenant_id` was not.
    """

    message_id: str
    type: str
    queue: Queue | str
    exchange: str
    routing_key: str
    user_id: str | None
    correlation_id: str | None
    causation_id: str | None
    tenant_id: UUID | None
    redelivered: bool  # a consumer had it before and did not finish
    attempt: int  # 1 at first; counts failures of the handler, not crashes
    body_sha256: str
    headers: Mapping[str, str]  # those with text values


def read(
    message: "AbstractIncomingMessage", queue: Queue | str, models: tuple[type["Contract"], ...], own_user: str
) -> tuple["Contract", Envelope]:
    """Return the model and the envelope of a delivery; raise `PoisonMessage` with a `message.*` code.

    `own_user` is the user that the service publishes as: only its messages, and those that an operator sent again, are
    believed about where they came from first.
    """
    if len(message.body) > MAX_BODY_BYTES:
        raise PoisonMessage(SafeCode.MESSAGE_TOO_LARGE, size=len(message.body), limit=MAX_BODY_BYTES)
    if not message.message_id:
        raise PoisonMessage(SafeCode.MESSAGE_ID_MISSING)
    return _body(message, models), _envelope(message, message.message_id, queue, own_user)


def _body(message: "AbstractIncomingMessage", models: tuple[type["Contract"], ...]) -> "Contract":
    model = _MODELS.get(message.type or "")
    if model is None or model not in models:
        raise PoisonMessage(SafeCode.MESSAGE_UNKNOWN_VERSION, field="type")
    try:
        check_json(message.body, MESSAGE)
        return model.model_validate_json(message.body)
    except TooMuch as much:
        if much.bound is Bound.ENCODING:
            raise PoisonMessage(SafeCode.MESSAGE_UNDECODABLE) from None
        raise PoisonMessage(SafeCode.MESSAGE_EXCEEDS_LIMITS, reason=much.bound.value, limit=much.limit) from None
    except ValidationError as error:
        # Values and other people's keys stay out of the reason: only the names of our own fields may be in it.
        places = [
            place for detail in error.errors(include_input=False, include_url=False) for place in detail["loc"][:1]
        ]
        if "version" in places:
            raise PoisonMessage(SafeCode.MESSAGE_UNKNOWN_VERSION, field="version") from None
        field = next((str(place) for place in places if place in model.model_fields), None)
        raise PoisonMessage(SafeCode.MESSAGE_UNDECODABLE, field=field) from None


def _envelope(message: "AbstractIncomingMessage", message_id: str, queue: Queue | str, own_user: str) -> Envelope:
    headers = {key: value for key, value in message.headers.items() if isinstance(value, str)}
    travelled = headers if _is_believed(message.user_id, own_user) else {}
    return Envelope(
        message_id=message_id,
        type=message.type or "",
        queue=queue,
        exchange=travelled.get(ORIGINAL_EXCHANGE, message.exchange or ""),
        routing_key=travelled.get(ORIGINAL_KEY, message.routing_key or ""),
        # Nobody's message, sent on by us, is still nobody's.
        user_id=travelled.get(ORIGINAL_USER) if ORIGINAL_EXCHANGE in travelled else message.user_id,
        correlation_id=message.correlation_id,
        causation_id=headers.get("causationid"),
        tenant_id=_uuid(headers.get("tenantid")),
        redelivered=bool(message.redelivered),
        attempt=attempt_of(message),
        body_sha256=hashlib.sha256(message.body).hexdigest(),
        headers=headers,
    )


def _is_believed(user: str | None, own_user: str) -> bool:
    """Tell whether this user's word counts; another service's does not, for it might put commands into our queue."""
    return user in relatives(own_user, (Role.OPERATOR,))


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None


def deferrals_of(message: "AbstractIncomingMessage") -> int:
    """Return how often the message was put off because its sender's rate or its tenant's quota was used up."""
    value = message.headers.get(DEFERRED)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def attempt_of(message: "AbstractIncomingMessage") -> int:
    """Return which attempt this delivery is, from 1."""
    value = message.headers.get(ATTEMPT)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 1


def onward(
    message: "AbstractIncomingMessage",
    queue: Queue | str,
    own_user: str,
    *,
    exchange: str,
    routing_key: str | None = None,
    headers: Mapping[str, Any],
) -> Delivery:
    """Build the same message for another exchange: body and ids stay, and it remembers where it came from first.

    Without `routing_key` it keeps its own.
    """
    first: dict[str, Any] = {
        ORIGINAL_EXCHANGE: message.exchange or "",
        ORIGINAL_KEY: message.routing_key or "",
        ORIGINAL_QUEUE: str(queue),
    }
    if message.user_id:
        first[ORIGINAL_USER] = message.user_id
    kept = {key: value for key, value in message.headers.items() if not key.startswith(OLD_HEADERS)}
    if _is_believed(message.user_id, own_user):
        first |= {key: value for key, value in message.headers.items() if key in _ORIGINALS}
    return Delivery(
        exchange=exchange,
        routing_key=message.routing_key or "" if routing_key is None else routing_key,
        body=message.body,
        headers={**kept, **first, **headers},
        message_id=message.message_id or None,
        type=message.type,
        correlation_id=message.correlation_id,
        timestamp=message.timestamp or datetime.now(UTC),
        content_type=message.content_type,
        app_id=message.app_id,
    )
