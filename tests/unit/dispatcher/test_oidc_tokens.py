"""Which access tokens are good. Everything else is refused, and nothing a stranger sends is anything but refused."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, Key, RSAKey

from services.dispatcher.oidc.identities import Identity, Reason, Refused
from services.dispatcher.oidc.keys import usable
from services.dispatcher.oidc.settings import ALGORITHMS, Trust
from services.dispatcher.oidc.tokens import TokenVerifier
from simulator.issuer import DevIssuer
from tests.support.issuing import (
    altered,
    packed,
    parts_of,
    signed_with_what_everybody_knows,
    unsigned,
)

NOW = 1_800_000_000
ISSUER = "https://issuer.example"
TRUST = Trust(ISSUER, ("reinstate", "reinstate-old"), frozenset({"ES256", "RS256"}), 60, 3600, "sub")


class PublishedKeys:
    """`Keys` as the issuer publishes them now."""

    def __init__(self, issuer: DevIssuer) -> None:
        self.issuer = issuer

    async def find(self, kid: str, algorithm: str) -> Key | None:
        return next(iter(usable(self.issuer.keys()).get(kid, ())), None)


@pytest.fixture(scope="module")
def issuer() -> DevIssuer:
    return DevIssuer(ISSUER, "reinstate", now=lambda: NOW)


def verifier(issuer: DevIssuer, trust: Trust = TRUST) -> TokenVerifier:
    return TokenVerifier(trust, PublishedKeys(issuer), now=lambda: NOW)


async def refusal(issuer: DevIssuer, token: str, trust: Trust = TRUST) -> Reason:
    with pytest.raises(Refused) as refused:
        await verifier(issuer, trust).verify(token)
    return refused.value.reason


async def test_a_good_token_means_its_subject_and_an_address_only_if_it_is_verified(issuer: DevIssuer) -> None:
    plain = issuer.token("ada")
    claimed = issuer.token("ada", email="ada@example.com")
    almost = issuer.token("ada", email="ada@example.com", email_verified="true")
    verified = issuer.token("ada", email=" Ada@Example.com", email_verified=True)

    for token in (plain, claimed, almost):
        assert await verifier(issuer).verify(token) == Identity(ISSUER, "ada")
    assert await verifier(issuer).verify(verified) == Identity(ISSUER, "ada", "ada@example.com")


@pytest.mark.parametrize("email", ["", "a\x00@example.com", "a" * 321, 7, ["ada@example.com"], None, "a\n@b"])
async def test_an_address_that_no_row_can_hold_is_none(issuer: DevIssuer, email: object) -> None:
    token = issuer.token("ada", email=email, email_verified=True)

    assert await verifier(issuer).verify(token) == Identity(ISSUER, "ada")


GOOD: dict[str, dict[str, Any]] = {
    "one of several audiences": {"aud": ["somebody-else", "reinstate-old"]},
    "over for less than the tolerance": {"exp": NOW - 59, "iat": NOW - 100},
    "not begun for less than the tolerance": {"nbf": NOW + 60},
    "from a clock that is a little ahead": {"iat": NOW + 60},
    "as old as allowed": {"iat": NOW - 3600},
    "without nbf": {"nbf": None},
    "times with fractions": {"iat": NOW - 0.5, "exp": NOW + 0.5},
}


@pytest.mark.parametrize("claims", GOOD.values(), ids=list(GOOD))
async def test_what_is_within_the_bounds_is_good(issuer: DevIssuer, claims: dict[str, Any]) -> None:
    assert (await verifier(issuer).verify(issuer.token("ada", **claims))).subject == "ada"


BAD: dict[str, tuple[dict[str, Any], Reason]] = {
    "over": ({"exp": NOW - 60}, Reason.TIME),
    "without an end": ({"exp": None}, Reason.CLAIMS),
    "an end that is no number": ({"exp": "tomorrow"}, Reason.TIME),
    "an end that is true": ({"exp": True}, Reason.TIME),
    "not begun": ({"nbf": NOW + 61}, Reason.TIME),
    "issued in the future": ({"iat": NOW + 61}, Reason.TIME),
    "without a time of issue": ({"iat": None}, Reason.CLAIMS),
    "too old": ({"iat": NOW - 3661}, Reason.TIME),
    "too old by far": ({"iat": -(10**30), "exp": 10**30}, Reason.TIME),
    "over before it began": ({"iat": NOW, "exp": NOW - 30}, Reason.TIME),
    "another issuer": ({"iss": ISSUER + "/"}, Reason.CLAIMS),
    "no issuer": ({"iss": None}, Reason.CLAIMS),
    "several issuers": ({"iss": [ISSUER]}, Reason.CLAIMS),
    "another audience": ({"aud": "reinstate-"}, Reason.CLAIMS),
    "no audience": ({"aud": None}, Reason.CLAIMS),
    "an empty audience": ({"aud": []}, Reason.CLAIMS),
    "an audience of anything": ({"aud": [{"reinstate": 1}, "reinstate"]}, Reason.CLAIMS),
    "nobody": ({"sub": None}, Reason.CLAIMS),
    "an empty name": ({"sub": ""}, Reason.CLAIMS),
    "a number for a name": ({"sub": 7}, Reason.CLAIMS),
    "an endless name": ({"sub": "a" * 256}, Reason.CLAIMS),
    "a name with a control character": ({"sub": "ada\n"}, Reason.CLAIMS),
}


@pytest.mark.parametrize(("claims", "reason"), BAD.values(), ids=list(BAD))
async def test_what_is_beyond_them_is_refused(issuer: DevIssuer, claims: dict[str, Any], reason: Reason) -> None:
    token = issuer.token("ada", **claims)

    assert await refusal(issuer, token) is reason


async def test_only_the_claim_that_settings_name_names_the_person(issuer: DevIssuer) -> None:
    by_oid = Trust(ISSUER, ("reinstate",), frozenset({"ES256"}), 60, 3600, "oid")

    assert await refusal(issuer, issuer.token("ada"), by_oid) is Reason.CLAIMS
    assert (await verifier(issuer, by_oid).verify(issuer.token("ada", oid="o-1"))).subject == "o-1"


async def test_a_signature_of_anybody_else_is_none(issuer: DevIssuer) -> None:
    good = issuer.token("ada")
    kid = parts_of(good)[0]["kid"]
    stranger = DevIssuer(ISSUER, "reinstate", now=lambda: NOW).token("ada")

    assert await refusal(issuer, stranger) is Reason.KEY
    assert await refusal(issuer, altered(stranger, {"kid": kid})) is Reason.SIGNATURE
    assert await refusal(issuer, altered(good, sub="owner")) is Reason.SIGNATURE
    assert await refusal(issuer, unsigned(good, "ES256")) is Reason.SIGNATURE
    assert await refusal(issuer, good[:-2] + ("AA" if good[-2:] != "AA" else "BA")) is Reason.SIGNATURE


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "", "HS256", "HS512", "ES384", "EdDSA", "es256", "RSA1_5"]
)
async def test_no_algorithm_is_taken_but_those_of_the_list(issuer: DevIssuer, algorithm: str) -> None:
    token = issuer.token("ada")

    for forged in (altered(token, {"alg": algorithm}), unsigned(token, algorithm)):
        assert await refusal(issuer, forged) in (Reason.ALGORITHM, Reason.MALFORMED)


async def test_the_public_key_is_no_shared_secret(issuer: DevIssuer) -> None:
    forged = signed_with_what_everybody_knows(issuer.token("ada"), issuer.keys())

    assert await refusal(issuer, forged) is Reason.ALGORITHM


async def test_a_key_of_another_kind_does_not_check_the_signature(issuer: DevIssuer) -> None:
    """The header asks for RS256, the key of that name is for ES256."""
    assert await refusal(issuer, altered(issuer.token("ada"), {"alg": "RS256"})) is Reason.SIGNATURE


async def test_rsa_keys_work_as_well() -> None:
    key = RSAKey.generate_key(2048, parameters={"kid": "r"})

    class OneKey:
        async def find(self, kid: str, algorithm: str) -> Key | None:
            return RSAKey.import_key(key.as_dict(private=False))

    claims = {"iss": ISSUER, "aud": "reinstate", "sub": "ada", "iat": NOW, "exp": NOW + 60}
    token = jwt.encode({"alg": "RS256", "kid": "r"}, claims, key, algorithms=["RS256"])

    assert (await TokenVerifier(TRUST, OneKey(), now=lambda: NOW).verify(token)).subject == "ada"


HEADERS: dict[str, dict[str, Any]] = {
    "no key": {"kid": None},
    "a key of no name": {"kid": 7},
    "a logout token": {"typ": "logout+jwt"},
    "a type that is none": {"typ": 1},
    "something critical": {"crit": ["b64"], "b64": False},
    "something critical that is no list": {"crit": 7},
    "a long header": {"x": "x" * 600},
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=list(HEADERS))
async def test_a_header_that_asks_for_more_than_we_know_is_refused(issuer: DevIssuer, header: dict[str, Any]) -> None:
    assert await refusal(issuer, altered(issuer.token("ada"), header)) is Reason.MALFORMED


async def test_a_key_that_travels_with_its_token_counts_for_nothing(issuer: DevIssuer) -> None:
    own = ECKey.generate_key("P-256", parameters={"kid": "own"})
    claims = {"iss": ISSUER, "aud": "reinstate", "sub": "ada", "iat": NOW, "exp": NOW + 60}
    for extra in ({"jwk": own.as_dict(private=False)}, {"jku": "https://attacker.example/keys"}):
        token = jwt.encode({"alg": "ES256", "kid": "own", **extra}, claims, own, algorithms=["ES256"])

        assert await refusal(issuer, token) is Reason.KEY


NONSENSE = ["", ".", "..", "...", "a.b", "a.b.c", "a.b.c.d", "\ud800..", "ä.ö.ü", "x" * 100_000, "." * 9]


@pytest.mark.parametrize("token", NONSENSE, ids=range(len(NONSENSE)))
async def test_what_is_no_token_is_refused(issuer: DevIssuer, token: str) -> None:
    assert await refusal(issuer, token) is Reason.MALFORMED


@pytest.mark.parametrize(
    "header", ["[]", '["alg"]', "7", "null", '"alg"', "[" * 300, '{"alg": 1e999}', '{"alg":"ES256","alg":"none"}', "{"]
)
async def test_a_header_that_is_no_object_of_words_is_refused(issuer: DevIssuer, header: str) -> None:
    _header, claims, signature = issuer.token("ada").split(".")

    assert await refusal(issuer, f"{packed(header.encode())}.{claims}.{signature}") in (
        Reason.MALFORMED,
        Reason.ALGORITHM,
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["iss", "aud", "sub", "exp", "nbf", "iat", "jti", "email", "email_verified", "x"])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(claims=st.dictionaries(NAMES, JSON, min_size=1, max_size=4))
async def test_even_the_issuers_own_nonsense_is_an_identity_or_a_refusal(
    issuer: DevIssuer, claims: dict[str, Any]
) -> None:
    """Whatever is signed: no other error, and an identity only with a name, our issuer and our audience."""
    token = issuer.token("ada", **claims)
    try:
        identity = await verifier(issuer).verify(token)
    except Refused:
        return
    told = parts_of(token)[1]
    assert told["iss"] == ISSUER
    assert {"reinstate", "reinstate-old"} & set([told["aud"]] if isinstance(told["aud"], str) else told["aud"])
    assert identity.subject == told["sub"]
    assert identity.email is None or told["email_verified"] is True


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_a_token_that_anybody_touched_is_refused(issuer: DevIssuer, data: st.DataObject) -> None:
    """Each single character of header, claims or signature counts; only what decodes to the same bytes is the same."""
    token = issuer.token("ada")
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("ABCxyz019-_.=+/ \n").filter(lambda one: one != token[place]))

    await refusal(issuer, token[:place] + other + token[place + 1 :])


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=JSON, claims=JSON, signature=st.binary(max_size=80))
async def test_random_parts_are_refused(issuer: DevIssuer, header: Any, claims: Any, signature: bytes) -> None:
    parts = [packed(json.dumps(one).encode()) for one in (header, claims)]

    await refusal(issuer, ".".join([*parts, packed(signature)]))


def test_the_list_of_algorithms_has_none_with_a_shared_secret() -> None:
    assert [one for one in ALGORITHMS if one.startswith("HS") or one.lower() == "none"] == []
