"""Whether an access token is good: signed by the issuer, for us, for now. Only what was checked gets out of here.

A refusal is `Refused` with a word for our own metrics. The caller is told nothing but that nobody is signed in, so that
a forger cannot feel the way. No part of a token is ever logged, stored or repeated.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from joserfc import jws, jwt
from joserfc.errors import ClaimError, JoseError, MissingClaimError
from joserfc.jwk import Key

from services.dispatcher.oidc.identities import MAX_TOKEN, Identity, Reason, Refused
from services.dispatcher.oidc.settings import Trust

_MAX_SUBJECT = 255  # characters, by the standard
_MAX_EMAIL = 320
_TIMES = frozenset({"exp", "nbf", "iat"})
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})  # no logout token, no security event


class Keys(Protocol):
    """The issuer's public keys."""

    async def find(self, kid: str, algorithm: str) -> Key | None:
        """Return the key that a token names; None when the issuer has no such key.

        Raises `TransientError(SERVICE_UNAVAILABLE)` when nobody can tell: no keys are known, and the issuer is away.
        """
        ...


class TokenVerifier:
    """Checks access tokens of one issuer."""

    def __init__(self, trust: Trust, keys: Keys, now: Callable[[], float] = time.time) -> None:
        """Trust what `trust` says; `now` is the wall clock in seconds, since tokens name moments of it."""
        self._trust = trust
        self._keys = keys
        self._now = now
        # The list is never empty: without one the library would take its own, which has a shared-secret algorithm.
        self._registry = jws.JWSRegistry(algorithms=sorted(trust.algorithms), strict_check_header=False)

    async def verify(self, token: str) -> Identity:
        """Return whom a good token means; raise `Refused`, or `TransientError` when the keys cannot be had."""
        header = self._header(token)
        key = await self._keys.find(header["kid"], header["alg"])
        if key is None:
            raise Refused(Reason.KEY)
        claims = self._claims(token, key)
        self._check_times(claims)
        return self._identity(claims)

    def _header(self, token: str) -> Mapping[str, str]:
        """Read the header, which nobody has vouched for yet: it says with which key and algorithm to check."""
        if len(token) > MAX_TOKEN or not token.isascii():
            raise Refused(Reason.MALFORMED)
        try:
            header = jws.extract_compact(token.encode(), registry=self._registry).protected
        except Exception:  # noqa: BLE001  whatever a stranger's bytes make a parser do, the answer is the same
            raise Refused(Reason.MALFORMED) from None
        if not isinstance(header, dict):
            raise Refused(Reason.MALFORMED)
        kid, algorithm, kind = header.get("kid"), header.get("alg"), header.get("typ", "JWT")
        if not isinstance(kid, str) or not isinstance(kind, str) or kind.lower() not in _TYPES or "crit" in header:
            raise Refused(Reason.MALFORMED)
        if not isinstance(algorithm, str) or algorithm not in self._trust.algorithms:
            raise Refused(Reason.ALGORITHM)
        return {"kid": kid, "alg": algorithm}

    def _claims(self, token: str, key: Key) -> dict[str, Any]:
        trust = self._trust
        wanted = jwt.JWTClaimsRegistry(
            now=math.floor(self._now()),
            leeway=trust.tolerance,
            iss={"essential": True, "value": trust.issuer},
            aud={"essential": True, "values": list(trust.audiences)},
            exp={"essential": True},
            iat={"essential": True},
        )
        try:
            claims = jwt.decode(token, key, registry=self._registry).claims
        except Exception:  # noqa: BLE001  as above
            raise Refused(Reason.SIGNATURE) from None
        try:
            wanted.validate(claims)
        except MissingClaimError:
            raise Refused(Reason.CLAIMS) from None
        except ClaimError as error:
            raise Refused(Reason.TIME if error.claim in _TIMES else Reason.CLAIMS) from None
        except (JoseError, ArithmeticError, TypeError, ValueError):
            raise Refused(Reason.CLAIMS) from None
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        """Refuse a token that is too old, or one that ends before it begins."""
        if claims["iat"] < self._now() - self._trust.max_age - self._trust.tolerance or claims["exp"] < claims["iat"]:
            raise Refused(Reason.TIME)

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        subject = _word(claims.get(self._trust.user_claim), _MAX_SUBJECT)
        if subject is None:
            raise Refused(Reason.CLAIMS)
        email = _word(claims.get("email"), _MAX_EMAIL) if claims.get("email_verified") is True else None
        return Identity(self._trust.issuer, subject, email.strip().lower() if email else None)


def _word(value: object, at_most: int) -> str | None:
    """Return a text that a row can hold; None for anything else."""
    if not isinstance(value, str) or not 0 < len(value) <= at_most or not value.isprintable():
        return None
    return value
