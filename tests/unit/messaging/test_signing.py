"""Keys: how they are read, that none is shown, and that a signature is an Ed25519 signature as everybody makes it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.catalogue import encode, type_of
from shared.contracts.signatures import Signed, packed, spelled, unpacked
from shared.domain.errors import ReinstateError
from shared.messaging.signing import Signer, is_public_key, is_signed, key_id_of
from tests.support.builders import a_sync

SIGNED = Signed("k", "m", "2026-03-01T12:00:00Z", "t", "tenant", "00")


def test_a_key_is_read_as_it_was_written_and_its_id_is_its_fingerprint() -> None:
    made = Signer.generate()

    again = Signer.read(f" {made.text}\n")

    assert (again.key_id, again.public_key) == (made.key_id, made.public_key)
    assert again.sign(SIGNED) == made.sign(SIGNED)
    assert made.key_id == key_id_of(made.public_key)


@given(st.text(max_size=100))
def test_what_is_no_key_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match="a signing key is its id") as refused:
        Signer.read(text)
    assert len(text) < 4 or text not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_key_does_not_show_itself() -> None:
    made = Signer.generate()
    secret = made.text.partition(":")[2]

    assert secret not in repr(made) + str(made) + f"{made}"


@given(st.binary(max_size=100))
def test_bytes_have_one_spelling(raw: bytes) -> None:
    assert unpacked(packed(raw)) == raw


@given(st.one_of(st.text(max_size=100), st.text(alphabet="AZaz09-_=+/ \n", max_size=100)))
def test_every_other_spelling_is_refused(text: str) -> None:
    try:
        raw = unpacked(text)
    except ReinstateError:
        return
    assert packed(raw) == text


@given(signature=st.binary(max_size=100), key=st.binary(max_size=64))
def test_bytes_that_are_no_signature_or_no_key_prove_nothing(signature: bytes, key: bytes) -> None:
    assert not is_signed(SIGNED, signature, key)
    assert not is_signed(SIGNED, signature, Signer.generate().public_key)
    assert is_public_key(key) <= (len(key) == 32)


@given(st.integers(0, 511))
def test_a_signature_with_any_bit_changed_proves_nothing(bit: int) -> None:
    signer = Signer.generate()
    signature = bytearray(signer.sign(SIGNED))
    assert is_signed(SIGNED, bytes(signature), signer.public_key)

    signature[bit // 8] ^= 1 << (bit % 8)

    assert not is_signed(SIGNED, bytes(signature), signer.public_key)


def test_the_example_of_the_page_signs_as_we_do() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "signed-commands.md"
    example = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    scope: dict[str, Any] = {}
    exec(compile(example, page.name, "exec"), scope)  # noqa: S102  our own page
    signer, command, at = Signer.generate(), a_sync(uuid4()), datetime.now(UTC)
    body = encode(command)

    theirs = scope["headers"](signer.text, "m-1", spelled(at), type_of(command).value, str(command.tenant_id), body)

    assert theirs == signer.headers(command, body, message_id="m-1", at=at)
