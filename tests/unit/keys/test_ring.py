"""Key-encryption keys: where they come from, what is wrong with them, and a service in the place of a file."""

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.keys.ring import KeyUnavailable, LocalWrapper, key_ring, references
from shared.keys.settings import KeySettings
from tests.support.keys import a_secret

CONTEXT = b"tenant 1"


class FromElsewhere(LocalWrapper):
    """Stands for a key management service."""

    def __init__(self) -> None:
        super().__init__(b"\1" * 31 + b"\2")


class Failing(FromElsewhere):
    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        raise RuntimeError(f"hunter2 {wrapped!r}")


def broken() -> None:
    raise RuntimeError("hunter2")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old"
    path.write_text(a_secret() + "\n")
    return path


async def test_the_first_wraps_and_every_one_unwraps(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEW_KEK", base64.b64decode(a_secret()).hex())
    before, after = key_ring(f"old=file:{old}"), key_ring(f"new=env:NEW_KEK, old=file:{old}")
    wrapped = await before.wrap(b"s" * 32, CONTEXT)
    assert await after.unwrap("old", wrapped, CONTEXT) == b"s" * 32
    assert (before.active, after.active) == ("old", "new")
    assert await after.unwrap("new", await after.wrap(b"t" * 32, CONTEXT), CONTEXT) == b"t" * 32


async def test_a_wrapped_key_opens_under_its_own_context_and_key_only(old: Path) -> None:
    ring = key_ring(f"old=file:{old}")
    wrapped = await ring.wrap(b"s" * 32, CONTEXT)
    for kek_id, form, context in (
        ("old", wrapped, b"tenant 2"),
        ("old", wrapped[:-1] + bytes([wrapped[-1] ^ 1]), CONTEXT),
        ("old", b"", CONTEXT),
        ("lost", wrapped, CONTEXT),
    ):
        with pytest.raises(KeyUnavailable):
            await ring.unwrap(kek_id, form, context)


async def test_a_service_of_its_own_is_loaded_by_name() -> None:
    ring = key_ring(f"cloud=kms:{__name__}:FromElsewhere")
    assert await ring.unwrap("cloud", await ring.wrap(b"s" * 32, CONTEXT), CONTEXT) == b"s" * 32


async def test_what_a_service_says_when_it_fails_is_not_passed_on() -> None:
    ring = key_ring(f"cloud=kms:{__name__}:Failing")
    with pytest.raises(KeyUnavailable) as caught:
        await ring.unwrap("cloud", b"w", CONTEXT)
    assert (str(caught.value), caught.value.context) == ("key.unavailable", {"reason": "service_failed"})
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "text",
    ["", "a", "a=", "a=file:", "=file:x", "a=vault:x", "a b=file:x", "a=env:X,a=env:Y", "a=file:/nowhere/at/all"],
)
def test_what_names_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be|twice|cannot be read"):
        key_ring(text)


@pytest.mark.parametrize("secret", ["", "hunter2hunter2", "aGVsbG8=", "00" * 32, "é" * 44])
def test_a_weak_or_broken_key_is_refused_without_being_shown(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEK", secret)
    with pytest.raises(ValueError, match="the key main must be 32 random bytes") as refused:
        key_ring("main=env:KEK")
    assert not secret or secret not in str(refused.value)


@pytest.mark.parametrize("name", [f"{__name__}:broken", f"{__name__}:absent", "no.such.module:Thing"])
def test_a_service_that_does_not_load_is_named_and_its_words_are_not(name: str) -> None:
    with pytest.raises(ValueError, match="the key cloud cannot be opened") as refused:
        key_ring(f"cloud=kms:{name}")
    assert "hunter2" not in str(refused.value)


@given(st.text(max_size=60))
def test_any_text_is_a_list_of_references_or_a_value_error(text: str) -> None:
    try:
        found = references(text)
    except ValueError:
        return
    assert found


def test_without_the_setting_a_service_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQP_URL", "amqp://broker/")
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/x")
    monkeypatch.delenv("KEY_ENCRYPTION_KEYS")
    with pytest.raises(ValidationError, match="key_encryption_keys"):
        KeySettings()
    monkeypatch.setenv("KEY_ENCRYPTION_KEYS", "main=env:NOT_SET")
    with pytest.raises(ValidationError, match="32 random bytes"):
        KeySettings()
