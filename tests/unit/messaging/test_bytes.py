"""Bytes of anybody at the parsers of ours: refused by code or read, in bounded memory, and never a crash."""

import json
import tracemalloc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.contracts.catalogue import MODELS
from shared.contracts.names import MAX_BODY_BYTES, MessageType, Queue
from shared.contracts.signatures import claim_of
from shared.domain.errors import PermanentError, PoisonMessage
from shared.messaging.envelope import read

MIB = 1024 * 1024
MODEL = MODELS[MessageType.START_BULK_OPERATION_RUN]
JSONISH = st.text(st.sampled_from('[]{}":,\\1eE+-.tnuxé \n'), max_size=300).map(str.encode)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        name: st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=30)
        | st.lists(st.uuids().map(str))
        for name in (*MODEL.model_fields, "other")
    },
).map(lambda value: json.dumps(value).encode())
BODIES = st.binary(max_size=400) | JSONISH | FIELDS
HEADERS = st.dictionaries(
    st.sampled_from(["x-attempt", "x-deferred", "tenantid", "causationid", "x-reinstate-exchange"])
    | st.text(max_size=9),
    st.none() | st.booleans() | st.integers() | st.text(max_size=40) | st.binary(max_size=9) | st.lists(st.integers()),
    max_size=4,
)
BOMBS = [
    b"[" * MAX_BODY_BYTES,
    b'{"a":' * (MAX_BODY_BYTES // 5),
    b"[" + b"1," * 32_000 + b"1]",
    b"9" * MAX_BODY_BYTES,
    b'{"item_ids":["' + b"x" * 65_000 + b'"]}',
    b"1e999999",
    b" " * (MAX_BODY_BYTES + 1),
    "{}".encode("utf-16"),
]


def a_delivery(body: bytes, headers: dict[str, Any]) -> Any:
    known = {"body": body, "headers": headers, "message_id": "m-1", "type": MessageType.START_BULK_OPERATION_RUN.value}
    rest = {"user_id": "up", "exchange": "", "routing_key": "", "correlation_id": None, "redelivered": False}
    return SimpleNamespace(**known, **rest)


def told(body: bytes, headers: dict[str, Any] | None = None) -> str:
    try:
        message, envelope = read(a_delivery(body, headers or {}), Queue.DISPATCHER_COMMANDS, (MODEL,), "up")
    except PoisonMessage as poison:
        return poison.code.value
    assert isinstance(message, MODEL)
    assert envelope.attempt >= 1
    return "read"


@settings(max_examples=300)
@given(BODIES, HEADERS)
@example(b'{"version":1,"tenant_id":"0198c0de-0000-7000-8000-0000000000a1","resource":"a","action":"b"}', {})
def test_a_delivery_is_read_or_poison_whatever_its_bytes(body: bytes, headers: dict[str, Any]) -> None:
    assert told(body, headers).partition(".")[0] in ("read", "message")


def test_a_command_is_read() -> None:
    """The strategies above reach the good end, too."""
    assert told(b'{"tenant_id":"0198c0de-0000-7000-8000-0000000000a1","resource":"a","action":"b"}') == "read"


def most_memory(act: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("body", BOMBS, ids=lambda body: body[:8].decode("latin-1"))
def test_a_bomb_in_a_message_is_refused_in_little_memory(body: bytes) -> None:
    codes: list[str] = []

    most = most_memory(lambda: codes.append(told(body)))

    assert codes[0] in ("message.exceeds_limits", "message.too_large", "message.undecodable")
    assert most < 8 * MIB


# --- the headers that say who signed a command -----------------------------------------------------------------------

SIGNED = {
    "reinstate-algorithm": "ed25519",
    "reinstate-key-id": "k" * 16,
    "reinstate-signed-at": "2026-03-01T12:00:00.000000Z",
    "reinstate-signature": "A" * 86,
    "tenantid": "0198c0de-0000-7000-8000-0000000000a1",
}
SIGNATURES = st.fixed_dictionaries(
    {}, optional={name: st.just(good) | st.text(max_size=99) for name, good in SIGNED.items()}
)


def claimed(headers: dict[str, str], message_id: str = "m-1") -> str:
    try:
        claim = claim_of(headers, message_id=message_id, kind="x", body_sha256="ab" * 32)
    except PermanentError as error:
        return error.code.value
    return "unsigned" if claim is None else "signed"


@settings(max_examples=300)
@given(SIGNATURES, st.text(max_size=300))
@example(SIGNED, "m-1")
def test_a_signature_is_read_or_refused_whatever_its_headers(headers: dict[str, str], message_id: str) -> None:
    assert claimed(headers, message_id) in ("unsigned", "signed", "signature.invalid")


def test_a_signature_is_read() -> None:
    """The strategy above reaches the good end, too."""
    assert claimed(SIGNED) == "signed"


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("bomb", ["A" * MIB, "\N{COMBINING ACUTE ACCENT}" * MIB, "9" * MIB, "\x00" * MIB, "=" * MIB])
def test_a_bomb_in_a_signature_is_refused_in_little_memory(name: str, bomb: str) -> None:
    codes: list[str] = []

    most = most_memory(lambda: codes.append(claimed(SIGNED | {name: bomb})))

    assert codes == ["signature.invalid"]
    assert most < 8 * MIB
