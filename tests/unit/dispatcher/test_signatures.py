"""Whose signature is taken: published vectors, the law of keys and times, and that nothing is changed on the way."""

import json
from base64 import urlsafe_b64decode
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.dispatcher.signature_settings import SignedCommandSettings
from services.dispatcher.signatures import Signatures
from shared.contracts.commands import AbortRun, StartBulkOperationRun, StartRestoreRun
from shared.contracts.names import Exchange, MessageType, Queue
from shared.domain.errors import ReinstateError, SafeCode
from shared.domain.runs import RunType
from shared.domain.upstreams import ALLOWABLE, Grants, SignatureRules
from shared.messaging.envelope import read
from shared.messaging.signing import Signer
from shared.persistence.maintenance import Bounds
from tests.support.builders import a_sync
from tests.support.signed_vectors import document
from tests.support.signing import DAY, NOW, Redrives, Registry, a_delivery, an_envelope

COMMANDS = (StartRestoreRun, StartBulkOperationRun, AbortRun)
RULES = SignatureRules()
VECTORS = json.loads((Path(__file__).parents[3] / "docs" / "reference" / "signed-commands.json").read_text("utf-8"))
TENANT = UUID("018f2c5e-7d7a-7c3e-9b1a-2f4d6c8e0a11")


@dataclass
class Arrived:
    """As much of a delivery as `read` looks at."""

    body: bytes
    message_id: str | None
    type: str | None
    headers: dict[str, Any] = field(default_factory=dict)
    user_id: str | None = "upstream-crm"
    exchange: str = Exchange.COMMANDS.value
    routing_key: str = "bulk_operation_run.start"
    correlation_id: str | None = None
    redelivered: bool = False


async def judged(arrived: Arrived, registry: Registry, redrives: Redrives | None = None) -> str:
    """What becomes of a delivery: `accepted`, or the code that parks it."""
    try:
        command, envelope = read(arrived, Queue.DISPATCHER_COMMANDS, COMMANDS, "reinstate-dispatcher")  # type: ignore[arg-type]  # a stand-in
        assert isinstance(command, COMMANDS)
        sender = await Signatures(registry, redrives or Redrives(), RULES).check(command, envelope)
    except ReinstateError as error:
        return error.code.value
    assert sender == "crm"
    return "accepted"


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def unpadded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def published_registry() -> Registry:
    upstream = VECTORS["upstream"]
    granted = Grants(frozenset(UUID(one) for one in upstream["tenants"]), frozenset(upstream["operations"]))
    registry = Registry(now=moment(VECTORS["now"]))
    for key_id, key in VECTORS["keys"].items():
        registry.add(
            Signer(key_id, unpadded(key["private_key"])),
            public_key=unpadded(key["public_key"]),
            upstream=upstream["name"],
            grants=granted,
            valid_from=moment(key["valid_from"]),
            valid_until=moment(key["valid_until"]),
            revoked_at=moment(key["revoked_at"]) if "revoked_at" in key else None,
        )
    return registry


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda one: one["name"])
async def test_a_published_vector_has_its_published_result(vector: dict[str, Any]) -> None:
    assert (RULES.max_age.total_seconds(), RULES.tolerance.total_seconds()) == (
        VECTORS["max_age_seconds"],
        VECTORS["tolerance_seconds"],
    )
    arrived = Arrived(
        vector["body"].encode(), vector["message_id"], vector["type"], vector["headers"], vector["user_id"]
    )

    assert await judged(arrived, published_registry()) == vector["result"]


def test_there_is_a_failing_vector_for_each_reason_and_the_file_is_what_its_program_writes() -> None:
    reasons = {code.value for code in SafeCode if code.family in ("signature", "upstream")}

    assert {one["result"] for one in VECTORS["vectors"]} == reasons | {"accepted"}
    assert document() == VECTORS, "run: python -m tests.support.signed_vectors"


SIGNER = Signer("key-1", bytes(range(32)))


def a_signed_arrival(at: datetime = NOW, tenant: UUID = TENANT) -> tuple[Arrived, Registry]:
    registry = Registry()
    registry.add(SIGNER)
    registry.add(Signer("key-2", bytes(range(1, 33))))
    sent = a_delivery(a_sync(tenant), SIGNER, "order-4711", at)
    return Arrived(sent.body, sent.message_id, str(sent.type), dict(sent.headers)), registry


def flipped(text: str, position: int, mask: int) -> str:
    raw = bytearray(text.encode())
    raw[position % len(raw)] ^= mask
    return raw.decode(errors="replace")


PLACES = ("message_id", "type", "body", "reinstate-signature", "reinstate-key-id", "reinstate-signed-at", "tenantid")


@given(place=st.sampled_from((*PLACES, "reinstate-algorithm")), position=st.integers(0, 200), mask=st.integers(1, 255))
@settings(max_examples=1500, deadline=None)
async def test_whatever_single_byte_is_changed_on_the_way_the_command_is_refused(
    place: str, position: int, mask: int
) -> None:
    arrived, registry = a_signed_arrival()
    assert await judged(arrived, registry) == "accepted"

    if place == "body":
        body = bytearray(arrived.body)
        body[position % len(body)] ^= mask
        arrived.body = bytes(body)
    elif place in ("message_id", "type"):
        setattr(arrived, place, flipped(getattr(arrived, place), position, mask))
    else:
        arrived.headers[place] = flipped(arrived.headers[place], position, mask)

    assert await judged(arrived, registry) != "accepted"


@given(
    body=st.binary(max_size=300),
    message_id=st.one_of(st.none(), st.text(max_size=300)),
    kind=st.one_of(st.sampled_from([kind.value for kind in MessageType]), st.text(max_size=40), st.none()),
    headers=st.dictionaries(
        st.sampled_from((*PLACES[3:], "reinstate-algorithm", "x-attempt")),
        st.one_of(
            st.text(max_size=300),
            st.binary(max_size=300).map(lambda raw: raw.decode(errors="surrogateescape")),
            st.sampled_from(
                ("ed25519", "key-1", "2026-03-01T12:00:00Z", "2026-13-41T25:61:61Z", str(TENANT), "A" * 86)
            ),
            st.integers(),
            st.binary(max_size=40),
            st.none(),
        ),
    ),
)
@settings(max_examples=1500, deadline=None)
async def test_whatever_arrives_it_is_refused_with_a_safe_code_and_nothing_else_is_raised(
    body: bytes, message_id: str | None, kind: str | None, headers: dict[str, Any]
) -> None:
    _, registry = a_signed_arrival()

    assert await judged(Arrived(body, message_id, kind, headers), registry) in set(SafeCode)


@given(
    headers=st.dictionaries(
        st.sampled_from((*PLACES[3:], "reinstate-algorithm")),
        st.one_of(st.text(max_size=100), st.sampled_from(("ed25519", "key-1", "2026-03-01T12:00:00Z", str(TENANT)))),
    )
)
@settings(max_examples=500, deadline=None)
async def test_no_headers_that_somebody_makes_up_prove_a_good_body_s_sender(headers: dict[str, Any]) -> None:
    arrived, registry = a_signed_arrival()

    assert (await judged(replace(arrived, headers=headers), registry)).partition(".")[0] == "signature"


async def test_headers_of_any_length_are_refused_by_their_length_alone() -> None:
    arrived, registry = a_signed_arrival()
    for name in PLACES[3:]:
        long = {**arrived.headers, name: arrived.headers[name] * 50_000}

        assert await judged(replace(arrived, headers=long), registry) == "signature.invalid"


WHEN = st.timedeltas(timedelta(days=-3), timedelta(days=3))


@given(age=WHEN)
@settings(max_examples=300, deadline=None)
async def test_a_signature_is_taken_for_its_time_give_or_take_what_clocks_differ_by(age: timedelta) -> None:
    arrived, registry = a_signed_arrival(NOW - age)
    oldest = RULES.max_age + RULES.tolerance
    expected = "accepted" if -RULES.tolerance <= age <= oldest else "signature.too_old"

    assert await judged(arrived, registry) == ("signature.from_the_future" if age < -RULES.tolerance else expected)


@given(
    signed=WHEN, start=WHEN, lasts=st.timedeltas(timedelta(microseconds=1), timedelta(days=3)), revoked=st.booleans()
)
@settings(max_examples=300, deadline=None)
async def test_a_key_signs_within_its_time_and_a_revoked_one_never(
    signed: timedelta, start: timedelta, lasts: timedelta, *, revoked: bool
) -> None:
    arrived, registry = a_signed_arrival(NOW + signed)
    key = registry.keys["key-1"]
    begin, end = NOW + start, NOW + start + lasts
    registry.change(key, valid_from=begin, valid_until=end, revoked_at=NOW if revoked else None)
    if await judged(arrived, registry) == "accepted":
        assert not revoked
        assert begin - RULES.tolerance <= NOW + signed < end
        assert end > NOW


async def test_an_operator_s_word_replaces_the_age_and_nothing_else() -> None:
    old = NOW - 30 * DAY
    arrived, registry = a_signed_arrival(old)
    _, envelope = read(arrived, Queue.DISPATCHER_COMMANDS, COMMANDS, "x")  # type: ignore[arg-type]  # a stand-in
    key = registry.keys["key-1"]
    redrives = Redrives({(TENANT, "order-4711", envelope.body_sha256)})

    async def result(**changes: Any) -> str:
        registry.change(key, **changes)
        return await judged(arrived, registry, redrives)

    assert await judged(arrived, registry) == "signature.too_old"
    assert await result() == "accepted"
    assert await result(valid_until=old + DAY) == "accepted", "it was good when it signed"
    assert await result(valid_until=old) == "signature.key_expired"
    assert await result(revoked_at=NOW) == "signature.key_revoked"
    assert await result(grants=Grants(frozenset({uuid4()}), ALLOWABLE)) == "upstream.tenant_not_allowed"
    assert await result(grants=Grants(None, frozenset({"restore.execute"}))) == "upstream.operation_not_allowed"
    forged = {**arrived.headers, "reinstate-signature": "A" * 86}
    assert await judged(replace(arrived, headers=forged), registry, redrives) == "signature.invalid"
    assert await judged(replace(arrived, message_id="order-4712"), registry, redrives) == "signature.invalid"


async def test_a_fresh_command_asks_for_no_redrive() -> None:
    arrived, registry = a_signed_arrival()
    redrives = Redrives()
    await judged(arrived, registry, redrives)

    assert redrives.asked == 0


@pytest.mark.parametrize("operation", sorted(ALLOWABLE))
async def test_an_operation_is_allowed_by_its_own_name_alone(operation: str) -> None:
    resource, _, action = operation.partition(".")
    command: StartBulkOperationRun | StartRestoreRun | AbortRun
    if operation == "run.abort":
        command = AbortRun(tenant_id=TENANT, run_type=RunType.BULK, run_id=uuid4())
    elif resource == "restore":
        command = StartRestoreRun(tenant_id=TENANT, is_dry_run=action == "preview")
    else:
        command = StartBulkOperationRun(tenant_id=TENANT, resource=resource, action=action)
    registry = Registry()
    key = registry.add(SIGNER)
    sent = a_delivery(command, SIGNER, "m-1", NOW)
    envelope = an_envelope(command, dict(sent.headers))

    registry.change(key, grants=Grants(None, frozenset({operation})))
    assert await Signatures(registry, Redrives(), RULES).check(command, envelope) == "crm"

    registry.change(key, grants=Grants(None, ALLOWABLE - {operation}))
    with pytest.raises(ReinstateError) as refused:
        await Signatures(registry, Redrives(), RULES).check(command, envelope)
    assert (refused.value.code, refused.value.context["operation"]) == (
        SafeCode.UPSTREAM_OPERATION_NOT_ALLOWED,
        operation,
    )


async def test_where_signatures_are_optional_none_is_needed_and_a_bad_one_is_refused() -> None:
    registry = Registry()
    signatures = Signatures(registry, Redrives(), SignatureRules(required=False))
    command = a_sync(TENANT)

    assert await signatures.check(command, an_envelope(command, {"tenantid": str(TENANT)})) is None
    with pytest.raises(ReinstateError) as refused:
        await signatures.check(command, an_envelope(command, {"reinstate-signature": "A" * 86}))
    assert refused.value.code is SafeCode.SIGNATURE_INVALID


@pytest.mark.parametrize(
    ("tenants", "operations"),
    [(frozenset(), {"policy.sync"}), (None, set()), (None, {"policy.destroy"}), (None, {"*"})],
)
def test_grants_that_name_nothing_or_what_does_not_exist_are_none(
    tenants: frozenset[UUID] | None, operations: set[str]
) -> None:
    with pytest.raises(ValueError, match=r"name a tenant|an operation is one of"):
        Grants(tenants, frozenset(operations))


def test_no_command_is_taken_that_the_inbox_has_forgotten() -> None:
    """Else an accepted command could be sent again once its row of the inbox is deleted, and would start anew."""
    longest = {
        name: next(limit for one in field.metadata if (limit := getattr(one, "le", None)) is not None)
        for name, field in SignedCommandSettings.model_fields.items()
        if name in ("command_max_age", "command_tolerance")
    }
    oldest = timedelta(seconds=longest["command_max_age"] + 2 * longest["command_tolerance"])

    assert oldest < Bounds(timedelta(0), timedelta(0), timedelta(0)).keep_inbox
