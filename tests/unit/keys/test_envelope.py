"""A sealed value opens in its own place and nowhere else; a veiled hash tells nothing but whether two are equal."""

import hashlib
import pickle
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import PermanentError, SafeCode
from shared.keys.envelope import (
    KEY_BYTES,
    OVERHEAD,
    VEIL_GENERATION,
    DataKey,
    Purpose,
    Sealer,
    TenantCipher,
    bound,
    generation_of,
)
from shared.keys.texts import SealedText

SECRET = bytes(range(KEY_BYTES))
TENANT, OTHER = UUID(int=1), UUID(int=2)


def a_cipher(tenant: UUID = TENANT, generations: int = 2) -> TenantCipher:
    """Keys that are the same in every call, so that a test changes one thing at a time."""
    keys = {
        number: DataKey(UUID(int=100 + number), number, hashlib.sha256(SECRET + bytes([number])).digest())
        for number in range(generations)
    }
    return TenantCipher(tenant, keys)


def seal(
    cipher: TenantCipher, plain: bytes, purpose: Purpose = Purpose.SNAPSHOT, row: tuple[str, ...] = ("a",)
) -> bytes:
    return Sealer(cipher, cipher.newest, 1).seal(purpose, row, plain)


@given(st.binary(max_size=200), st.sampled_from(Purpose), st.lists(st.text(max_size=20), max_size=3))
def test_what_was_sealed_comes_back_and_costs_the_same_whatever_it_is(
    plain: bytes, purpose: Purpose, row: list[str]
) -> None:
    cipher = a_cipher()
    sealed = seal(cipher, plain, purpose, tuple(row))
    assert cipher.open(purpose, tuple(row), sealed) == plain
    assert len(sealed) == len(plain) + OVERHEAD
    assert sealed != seal(cipher, plain, purpose, tuple(row))


@given(st.binary(max_size=60), st.data())
def test_one_changed_bit_anywhere_is_noticed(plain: bytes, data: Any) -> None:
    cipher = a_cipher()
    sealed = bytearray(seal(cipher, plain))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(PermanentError) as caught:
        cipher.open(Purpose.SNAPSHOT, ("a",), bytes(sealed))
    assert caught.value.code is SafeCode.SNAPSHOT_CORRUPT


@given(st.binary(max_size=80))
def test_debris_is_refused_and_never_an_error_of_its_own(debris: bytes) -> None:
    with pytest.raises(PermanentError):
        a_cipher().open(Purpose.SNAPSHOT, ("a",), debris)


@pytest.mark.parametrize(
    ("cipher", "purpose", "row"),
    [
        (a_cipher(OTHER), Purpose.SNAPSHOT, ("a",)),
        (a_cipher(), Purpose.PLAN, ("a",)),
        (a_cipher(), Purpose.SNAPSHOT, ("b",)),
        (a_cipher(), Purpose.SNAPSHOT, ("a", "")),
        (a_cipher(), Purpose.SNAPSHOT, ()),
    ],
    ids=["tenant", "purpose", "row", "longer", "shorter"],
)
def test_moved_elsewhere_it_does_not_open(cipher: TenantCipher, purpose: Purpose, row: tuple[str, ...]) -> None:
    with pytest.raises(PermanentError):
        cipher.open(purpose, row, seal(a_cipher(), b"x"))


def test_the_same_key_under_another_id_does_not_open_it() -> None:
    keys = [{n: DataKey(UUID(int=base + n), n, SECRET) for n in (0, 1)} for base in (10, 20)]
    one, other = (TenantCipher(TENANT, each) for each in keys)
    with pytest.raises(PermanentError):
        other.open(Purpose.SNAPSHOT, ("a",), seal(one, b"x"))


Place = st.tuples(st.uuids(), st.text(max_size=8), st.text(max_size=8), st.lists(st.text(max_size=8), max_size=3))


@given(Place, Place)
def test_no_two_places_are_bound_alike(one: Any, other: Any) -> None:
    same = bound(one[0], one[1], one[2], *one[3]) == bound(other[0], other[1], other[2], *other[3])
    assert same is (one == other)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_hashes_are_veiled_alike_only_where_they_are_equal(one: bytes, other: bytes) -> None:
    cipher = a_cipher()
    veiled = cipher.veil(one.hex())
    assert cipher.unveil(veiled) == one.hex()
    assert (veiled == cipher.veil(other.hex())) is (one == other)
    assert one.hex() not in veiled
    assert len(veiled) == 64


def test_two_tenants_veil_one_hash_differently_and_cannot_unveil_the_others() -> None:
    digest = hashlib.sha256(b"the same baseline").hexdigest()
    veiled = a_cipher().veil(digest)
    assert veiled != a_cipher(OTHER).veil(digest)
    with pytest.raises(PermanentError):
        a_cipher(OTHER).unveil(veiled)


@given(st.text(max_size=80))
def test_what_was_never_veiled_is_refused(text: str) -> None:
    with pytest.raises(PermanentError):
        a_cipher().unveil(text)


def test_a_new_generation_seals_and_the_older_ones_still_open() -> None:
    old, new = a_cipher(), a_cipher(generations=3)
    sealed = seal(old, b"x")
    assert new.open(Purpose.SNAPSHOT, ("a",), sealed) == b"x"
    assert (generation_of(sealed), generation_of(seal(new, b"x"))) == (1, 2)
    assert old.veil("ab" * 32) == new.veil("ab" * 32)


def test_the_key_for_hashes_opens_nothing() -> None:
    cipher = a_cipher()
    veil_key = DataKey(UUID(int=100), VEIL_GENERATION, hashlib.sha256(SECRET + b"\0").digest())
    with pytest.raises(PermanentError):
        cipher.open(Purpose.SNAPSHOT, ("a",), cipher.seal(veil_key, Purpose.SNAPSHOT, ("a",), b"x"))


def test_more_than_was_counted_is_not_sealed() -> None:
    cipher = a_cipher()
    sealer = Sealer(cipher, cipher.newest, 1)
    sealer.seal(Purpose.SNAPSHOT, ("a",), b"x")
    with pytest.raises(RuntimeError):
        sealer.seal(Purpose.SNAPSHOT, ("a",), b"x")


def test_nothing_that_holds_a_key_shows_it_or_can_be_pickled() -> None:
    cipher = a_cipher()
    key, text = cipher.newest, SealedText(seal(cipher, b"hunter2", Purpose.CREDENTIAL, ()), cipher)
    shown = " ".join(repr(one) + str(one) for one in (key, cipher, Sealer(cipher, key, 1), text, text.reveal()))
    assert "hunter2" not in shown
    assert not any(form in shown for form in (key.derived(b"x", 4).hex(), hashlib.sha256(SECRET + b"\1").hexdigest()))
    assert text.reveal().get_secret_value() == "hunter2"
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_a_channels_address_is_sealed_for_that_channel_and_shows_nowhere() -> None:
    cipher, address = a_cipher(), "https://hooks.example.com/T0/hunter2"
    sealed = seal(cipher, address.encode(), Purpose.CHANNEL, ("one",))
    text = SealedText(sealed, cipher, Purpose.CHANNEL, ("one",))
    assert text.reveal().get_secret_value() == address
    assert "hunter2" not in repr(text)
    for other in (SealedText(sealed, cipher, Purpose.CHANNEL, ("two",)), SealedText(sealed, cipher)):
        with pytest.raises(PermanentError):
            other.reveal()


def test_a_key_of_another_size_is_no_key() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        DataKey(uuid4(), 1, b"short")
