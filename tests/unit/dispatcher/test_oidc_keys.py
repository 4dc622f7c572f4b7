"""The issuer's keys: asked for rarely, relied on for a bounded time, and only what can check a signature."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey, RSAKey

from services.dispatcher.oidc.keys import MAX_KEYS, KeyCache, usable
from services.dispatcher.oidc.settings import KeyBounds
from shared.domain.errors import SafeCode, TransientError
from simulator.issuer import DevIssuer

BOUNDS = KeyBounds(refresh=60, age=3600, stale=7200)
AWAY = TransientError(SafeCode.SERVICE_UNAVAILABLE, reason="silent")


class ScriptedIssuer:
    """`KeySource` that counts, may be away, and answers when it is let."""

    def __init__(self) -> None:
        self.issuer = DevIssuer("https://issuer.example", "reinstate")
        self.asked = 0
        self.is_away = False
        self.document: Mapping[str, Any] | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def kid(self) -> str:
        return str(self.issuer.keys()["keys"][-1]["kid"])

    async def fetch(self) -> Mapping[str, Any]:
        self.asked += 1
        await self.gate.wait()
        if self.is_away:
            raise AWAY
        return self.issuer.keys() if self.document is None else self.document


class ManualClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def source() -> ScriptedIssuer:
    return ScriptedIssuer()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cache(source: ScriptedIssuer, clock: ManualClock) -> KeyCache:
    return KeyCache(source, BOUNDS, clock)


async def knows(cache: KeyCache, kid: str) -> bool:
    return await cache.find(kid, "ES256") is not None


async def test_nobody_is_asked_before_the_first_token_and_then_once(cache: KeyCache, source: ScriptedIssuer) -> None:
    assert source.asked == 0
    assert [await knows(cache, source.kid) for _ in range(5)] == [True] * 5
    assert source.asked == 1


async def test_many_first_tokens_at_once_are_one_question(cache: KeyCache, source: ScriptedIssuer) -> None:
    source.gate.clear()
    waiting = [asyncio.create_task(knows(cache, source.kid)) for _ in range(50)]
    await asyncio.sleep(0)
    source.gate.set()

    assert await asyncio.gather(*waiting) == [True] * 50
    assert source.asked == 1


async def test_callers_who_leave_before_the_answer_do_not_keep_it_from_the_others(
    cache: KeyCache, source: ScriptedIssuer, clock: ManualClock
) -> None:
    """Or else whoever hangs up at once could keep a new key from ever being found."""
    await knows(cache, source.kid)
    source.issuer.rotate()
    clock.now += 60
    source.gate.clear()
    leaving, staying = [asyncio.create_task(knows(cache, source.kid)) for _ in range(2)]
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    source.gate.set()

    assert await staying
    assert source.asked == 2


async def test_unknown_keys_are_asked_for_once_in_the_least_time_however_many_are_named(
    cache: KeyCache, source: ScriptedIssuer, clock: ManualClock
) -> None:
    await knows(cache, source.kid)
    clock.now += 61

    at_once = await asyncio.gather(*(knows(cache, f"unknown-{number}") for number in range(50)))
    one_by_one = [await knows(cache, f"unknown-{number}") for number in range(50)]

    assert at_once + one_by_one == [False] * 100
    assert source.asked == 2


async def test_a_new_key_is_found_once_the_least_time_has_passed(
    cache: KeyCache, source: ScriptedIssuer, clock: ManualClock
) -> None:
    await knows(cache, source.kid)
    source.issuer.rotate()

    early = await knows(cache, source.kid)
    clock.now += 60

    assert (early, await knows(cache, source.kid)) == (False, True)


async def test_a_withdrawn_key_is_good_until_the_keys_come_of_age_and_no_longer(
    cache: KeyCache, source: ScriptedIssuer, clock: ManualClock
) -> None:
    old = source.kid
    await knows(cache, old)
    source.issuer.rotate()
    source.issuer.withdraw()

    clock.now += 3600
    assert await knows(cache, old)
    clock.now += 1
    await knows(cache, old)  # has them asked for anew, and does not wait for the answer
    while source.asked < 2:
        await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert not await knows(cache, old)
    assert await knows(cache, source.kid)
    await cache.close()


async def test_known_keys_are_used_while_the_issuer_takes_its_time(
    cache: KeyCache, source: ScriptedIssuer, clock: ManualClock
) -> None:
    await knows(cache, source.kid)
    clock.now += 3601
    source.gate.clear()

    assert [await knows(cache, source.kid) for _ in range(10)] == [True] * 10
    await asyncio.sleep(0)
    assert source.asked == 2
    await cache.close()


async def test_while_the_issuer_is_away_old_keys_are_good_for_a_bounded_time(
    cache: KeyCache, source: ScriptedIssuer, clock: ManualClock
) -> None:
    await knows(cache, source.kid)
    source.is_away = True

    clock.now += 3600 + 7200
    assert await knows(cache, source.kid)
    clock.now += 1
    with pytest.raises(TransientError) as refused:
        await knows(cache, source.kid)

    assert refused.value.code is SafeCode.SERVICE_UNAVAILABLE
    source.is_away = False
    clock.now += 5
    assert await knows(cache, source.kid)
    await cache.close()


async def test_without_any_key_the_issuer_is_asked_every_few_seconds_not_with_each_token(
    cache: KeyCache, source: ScriptedIssuer, clock: ManualClock
) -> None:
    source.is_away = True
    for _ in range(20):
        with pytest.raises(TransientError):
            await knows(cache, "any")
    assert source.asked == 1

    source.is_away = False
    clock.now += 5
    assert await knows(cache, source.kid)


@pytest.mark.parametrize("document", [{}, {"keys": []}, {"keys": 7}, {"keys": [None, [], {"kty": "oct"}]}])
async def test_an_answer_without_keys_takes_none_away(
    cache: KeyCache, source: ScriptedIssuer, clock: ManualClock, document: dict[str, Any]
) -> None:
    kid = source.kid
    await knows(cache, kid)
    source.document = document
    clock.now += 100

    await knows(cache, "unknown")

    assert source.asked == 2
    assert await knows(cache, kid)


EC = ECKey.generate_key("P-256", parameters={"kid": "e"}).as_dict(private=True)
RSA = RSAKey.generate_key(2048, parameters={"kid": "r"}).as_dict(private=True)


def test_keys_of_every_kind_are_taken_by_their_public_parts_alone() -> None:
    found = usable({"keys": [EC, RSA, {**EC, "kid": "x", "x5c": ["unread"], "use": "sig", "alg": "ES256"}]})

    assert set(found) == {"e", "r", "x"}
    assert [key.is_private for keys in found.values() for key in keys] == [False] * 3


LEFT_OUT: dict[str, Any] = {
    "a shared secret": OctKey.generate_key(256, parameters={"kid": "o"}).as_dict(private=True),
    "for encryption": {**RSA, "use": "enc"},
    "for signing only": {**EC, "key_ops": ["sign"]},
    "without a name": {key: value for key, value in EC.items() if key != "kid"},
    "of an endless name": {**EC, "kid": "k" * 256},
    "of 1024 bits": {**RSA, "n": RSA["n"][:171]},
    "of 1024 bits and many zeros": {**RSA, "n": "A" * 171 + RSA["n"][171:]},
    "of far too many bits": {**RSA, "n": RSA["n"] * 8},
    "beside the curve": {**EC, "x": EC["y"]},
    "of no curve": {**EC, "crv": "P-1"},
    "with parts missing": {"kty": "RSA", "kid": "r", "n": RSA["n"]},
    "with parts of another kind": {"kty": "EC", "kid": "r", "crv": 7, "x": [], "y": {}},
    "of a kind to come": {"kty": "AKP", "kid": "p"},
    "no object": "key",
}


@pytest.mark.parametrize("key", LEFT_OUT.values(), ids=list(LEFT_OUT))
def test_what_checks_no_signature_is_left_out_and_the_others_stay(key: Any) -> None:
    good = {**EC, "kid": "good"}

    assert list(usable({"keys": [key, good]})) == ["good"]


def test_of_an_endless_list_only_the_first_are_looked_at() -> None:
    assert len(usable({"keys": [{**EC, "kid": str(number)} for number in range(MAX_KEYS + 50)]})) == MAX_KEYS


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.lists(st.text(max_size=3), max_size=2)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["kty", "kid", "use", "alg", "key_ops", "crv", "x", "y", "n", "e", "d"]),
            VALUES | st.sampled_from(["RSA", "EC", "OKP", "P-256", "Ed25519", EC["x"], EC["y"], RSA["n"], "AQAB"]),
        ),
        max_size=4,
    )
)
def test_no_document_is_more_than_a_document_without_keys(keys: list[dict[str, Any]]) -> None:
    usable({"keys": keys})  # raises nothing: it is an issuer's mistake, and no reason for ours
