"""The issuer's keys, kept for a while: asked for rarely, however often strangers name keys that do not exist."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from services.dispatcher.oidc.settings import KeyBounds
from shared.domain.errors import SafeCode, TransientError

log = structlog.get_logger(__name__)

MAX_KEYS = 100
_MAX_KID = 255  # characters
_RSA_BITS = 2048
_RSA_DIGITS = range(342, 1368)  # of a modulus in base64: 2048 to 8192 bits
_RETRY = 5.0  # seconds between two questions where no key is in force: then nobody can sign in
_PUBLIC: Mapping[str, tuple[type[Key], tuple[str, ...]]] = {
    "RSA": (RSAKey, ("n", "e")),
    "EC": (ECKey, ("crv", "x", "y")),
    "OKP": (OKPKey, ("crv", "x")),
}
_KIND_OF = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}  # by the first letters of an algorithm

KeySet = Mapping[str, tuple[Key, ...]]  # by kid; keys of several kinds may share one


class KeySource(Protocol):
    """Where the keys are."""

    async def fetch(self) -> Mapping[str, Any]:
        """Return the issuer's key document; raise `TransientError` when there is none to be had."""
        ...


class KeyCache:
    """Implements `Keys`. One for each process; its keys are public, so nothing of it is secret."""

    def __init__(
        self,
        source: KeySource,
        bounds: KeyBounds,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask `source` within `bounds`; `clock` is monotonic, in seconds. Nothing is asked before the first token."""
        self._source = source
        self._bounds = bounds
        self._clock = clock
        self._keys: KeySet = {}
        self._asked_at = -float("inf")  # whether or not there was an answer
        self._answered_at = -float("inf")
        self._renewal: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Stop asking."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)

    async def find(self, kid: str, algorithm: str) -> Key | None:
        """Return the key; ask the issuer first where the key, or every key, is unknown.

        Known keys that have come of age go on being used while somebody asks for them anew, until they are stale.
        """
        if self._is_stale:
            await self._ask()
        elif self._age > self._bounds.age:
            self._begin_asking()
        if self._is_stale:
            raise TransientError(SafeCode.SERVICE_UNAVAILABLE, reason="issuer")
        found = self._known(kid, algorithm)
        if found is None:
            await self._ask()
            found = self._known(kid, algorithm)
        return found

    @property
    def _age(self) -> float:
        return self._clock() - self._answered_at

    @property
    def _is_stale(self) -> bool:
        return self._age > self._bounds.age + self._bounds.stale

    @property
    def _may_ask(self) -> bool:
        pause = min(self._bounds.refresh, _RETRY) if self._is_stale else self._bounds.refresh
        return self._clock() - self._asked_at >= pause

    def _known(self, kid: str, algorithm: str) -> Key | None:
        kind = _KIND_OF[algorithm[:2]]
        fitting = (key for key in self._keys.get(kid, ()) if key.key_type == kind and key.alg in (None, algorithm))
        return next(fitting, None)

    async def _ask(self) -> None:
        """Wait for the answer to one question, however many wait. A caller who leaves takes nobody's answer along."""
        self._begin_asking()
        if self._renewal is not None:
            await asyncio.shield(self._renewal)

    def _begin_asking(self) -> None:
        """Ask, unless somebody does; not again before the least time has passed, answer or none."""
        is_asking = self._renewal is not None and not self._renewal.done()
        if not is_asking and self._may_ask:
            self._asked_at = self._clock()
            self._renewal = asyncio.create_task(self._renew(), name="issuer-keys")

    async def _renew(self) -> None:
        try:
            keys = usable(await self._source.fetch())
        except TransientError as error:
            log.warning("issuer.silent", reason=error.context.get("reason"))
            return
        if not keys:
            log.warning("issuer.without_keys")
            return
        self._keys, self._answered_at = keys, self._clock()
        log.info("issuer.keys", count=sum(map(len, keys.values())))


def usable(document: Mapping[str, Any]) -> KeySet:
    """Return the public keys that signatures can be checked with; what is none of them is left out."""
    given = document.get("keys")
    found: dict[str, tuple[Key, ...]] = {}
    for one in given[:MAX_KEYS] if isinstance(given, list) else ():
        key = _key(one)
        if key is not None and key.kid is not None:
            found[key.kid] = (*found.get(key.kid, ()), key)
    return found


def _key(given: object) -> Key | None:
    """Read one key by its public parts alone: a shared secret is none, nor is a key that is too short."""
    if not isinstance(given, dict) or given.get("use", "sig") != "sig":
        return None
    kind, kid, algorithm = given.get("kty"), given.get("kid"), given.get("alg")
    if not isinstance(kind, str) or kind not in _PUBLIC or not isinstance(kid, str) or not 0 < len(kid) <= _MAX_KID:
        return None
    operations = given.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    key_class, parts = _PUBLIC[kind]
    public: dict[str, Any] = {name: given.get(name) for name in parts} | {"kty": kind, "kid": kid}
    if isinstance(algorithm, str):
        public["alg"] = algorithm
    if kind == "RSA" and len(str(public["n"])) not in _RSA_DIGITS:
        return None
    try:
        key = key_class.import_key(public)
    except Exception:  # noqa: BLE001  whatever a document makes a parser do: this is no key
        return None
    return None if isinstance(key, RSAKey) and key.raw_value.key_size < _RSA_BITS else key
