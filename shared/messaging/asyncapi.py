"""The AsyncAPI 3.0 document of everything on the wire, from the topology and the contract models.

Written to `docs/reference/asyncapi.json`; a test keeps the two together, so a changed contract shows in review.
"""

import json
from typing import Any

from pydantic.json_schema import models_json_schema

from shared.contracts.catalogue import COMMAND_KEYS, MODELS
from shared.contracts.names import MAX_BODY_BYTES, Exchange, MessageType, event_key, work_key
from shared.domain.runs import Lane, RunStatus, RunType

_HEADERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "cloudEvents_specversion": {"const": "1.0"},
        "cloudEvents_id": {"type": "string", "description": "the same as the AMQP property message_id"},
        "cloudEvents_source": {"type": "string"},
        "cloudEvents_type": {"type": "string", "description": "the same as the AMQP property type"},
        "cloudEvents_time": {"type": "string", "format": "date-time"},
        "cloudEvents_subject": {"type": "string", "description": "the run's id"},
        "tenantid": {"type": "string", "format": "uuid"},
        "traceparent": {"type": "string", "description": "W3C trace context"},
        "sequence": {"type": "string", "description": "of an event: its place in the run"},
        "causationid": {"type": "string", "description": "message_id of the message that led to this one"},
    },
}

_KEYS: dict[MessageType, tuple[Exchange, tuple[str, ...]]] = {
    **{kind: (Exchange.COMMANDS, (key.value,)) for kind, key in COMMAND_KEYS.items()},
    MessageType.WAKE_UP: (Exchange.WORK, tuple(work_key(run, lane) for run in RunType for lane in Lane)),
    MessageType.RUN_EVENT: (
        Exchange.EVENTS,
        tuple(event_key(run, status) for run in RunType for status in (*RunStatus, None)),
    ),
}


def document() -> dict[str, Any]:
    """Return the document. The application is Reinstate as a whole: it receives commands and sends events."""
    _, schemas = models_json_schema(
        [(model, "validation") for model in MODELS.values()], ref_template="#/components/schemas/{model}"
    )
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for kind, (exchange, keys) in _KEYS.items():
        for key in keys:
            name = f"{exchange.value}.{key}"
            channels[name] = _channel(exchange, key, kind)
            operations |= _operations(name, exchange, kind)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Reinstate",
            "version": "1",
            "description": (
                "Messages over AMQP 0-9-1: JSON, persistent, with message_id and type. A body holds at most"
                f" {MAX_BODY_BYTES} bytes. Version 1 only grows: ignore fields you do not know."
            ),
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": {kind.value: _message(kind) for kind in MODELS},
            "schemas": {**schemas["$defs"], "Headers": _HEADERS},
        },
    }


def _channel(exchange: Exchange, key: str, kind: MessageType) -> dict[str, Any]:
    return {
        "address": key,
        "messages": {kind.value: {"$ref": f"#/components/messages/{kind.value}"}},
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {"name": exchange.value, "type": "topic", "durable": True, "autoDelete": False},
                "bindingVersion": "0.3.0",
            }
        },
    }


def _operations(name: str, exchange: Exchange, kind: MessageType) -> dict[str, Any]:
    def operation(action: str) -> dict[str, Any]:
        return {
            "action": action,
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/{kind.value}"}],
        }

    receives = exchange is not Exchange.EVENTS
    sends = exchange is not Exchange.COMMANDS
    found = {f"receive.{name}": operation("receive")} if receives else {}
    return found | ({f"send.{name}": operation("send")} if sends else {})


def _message(kind: MessageType) -> dict[str, Any]:
    model = MODELS[kind]
    return {
        "name": kind.value,
        "title": model.__name__,
        "summary": (model.__doc__ or "").strip(),
        "contentType": "application/json",
        "correlationId": {"location": "$message.header#/cloudEvents_subject"},
        "headers": {"$ref": "#/components/schemas/Headers"},
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
    }


def text() -> str:
    """Return the document as it is committed."""
    return json.dumps(document(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    print(text(), end="")  # noqa: T201  a generator that prints its document
