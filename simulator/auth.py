"""Sign-in: app registrations and bearer tokens that name the tenant."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import orjson

from simulator.clock import Clock
from simulator.problems import bad_token
from simulator.resource import Json
from simulator.tenant import Tenant


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a token speaks for."""

    tenant_id: str
    client_id: str


@dataclass(frozen=True, slots=True)
class SignInRefused(Exception):
    """A refusal of the token endpoint, in OAuth's shape."""

    status: int
    error: str
    description: str
    number: int

    def body(self) -> Json:
        """Build the JSON that Entra ID answers with."""
        return {
            "error": self.error,
            "error_description": f"AADSTS{self.number}: {self.description}",
            "error_codes": [self.number],
        }


class SignIn:
    """Issues tokens and reads them. A token is signed with a key made from the seed, and holds its own expiry."""

    def __init__(self, clock: Clock, key: bytes, lifetime: int) -> None:
        self._clock = clock
        self._key = hashlib.sha256(b"token " + key).digest()
        self._lifetime = lifetime
        self._issued = 0
        self.apps: dict[str, str] = {}  # client id -> secret; an app is known in every tenant

    def issue(self, tenant: Tenant, form: Mapping[str, str]) -> Json:
        """Answer a client-credentials request; raises `SignInRefused`."""
        if form.get("grant_type") != "client_credentials":
            raise SignInRefused(
                HTTPStatus.BAD_REQUEST, "unsupported_grant_type", "The grant type is not supported.", 70003
            )
        if not form.get("scope", "").endswith("/.default"):
            raise SignInRefused(HTTPStatus.BAD_REQUEST, "invalid_scope", "The scope must end in /.default.", 1002012)
        client_id = form.get("client_id", "")
        secret = self.apps.get(client_id)
        if secret is None:
            raise SignInRefused(
                HTTPStatus.BAD_REQUEST, "unauthorized_client", "The application was not found in the directory.", 700016
            )
        if not hmac.compare_digest(secret.encode(), form.get("client_secret", "").encode()):
            raise SignInRefused(HTTPStatus.UNAUTHORIZED, "invalid_client", "Invalid client secret provided.", 7000215)
        return {
            "token_type": "Bearer",
            "expires_in": self._lifetime,
            "ext_expires_in": self._lifetime,
            "access_token": self.token(tenant.id, client_id),
        }

    def token(self, tenant_id: str, client_id: str) -> str:
        """Make a token that is good from now on."""
        self._issued += 1
        now = self._clock.now().timestamp()
        claims = {"tid": tenant_id, "appid": client_id, "iat": now, "exp": now + self._lifetime, "jti": self._issued}
        body = f"{_text(orjson.dumps({'alg': 'HS256', 'typ': 'JWT'}))}.{_text(orjson.dumps(claims))}"
        return f"{body}.{self._signature(body)}"

    def caller(self, authorization: str | None, tenants: Mapping[str, Tenant]) -> Caller:
        """Read an Authorization header; 401 when the token is missing, foreign, expired or revoked."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise bad_token("Access token is empty.")
        body, _, signature = token.rpartition(".")
        if not hmac.compare_digest(self._signature(body).encode(), signature.encode()):
            raise bad_token("Access token validation failure.")
        claims = orjson.loads(_bytes(body.partition(".")[2]))
        tenant = tenants.get(claims["tid"])
        now = self._clock.now().timestamp()
        if tenant is None or claims["exp"] <= now or claims["iat"] < tenant.tokens_valid_from:
            raise bad_token("Lifetime validation failed, the token is expired.")
        return Caller(tenant.id, claims["appid"])

    def _signature(self, body: str) -> str:
        return _text(hmac.digest(self._key, body.encode(), "sha256"))


def openid_configuration(base: str, tenant_id: str) -> Json:
    """The document from which clients learn the endpoints."""
    root = f"{base}/{tenant_id}"
    return {
        "issuer": f"{root}/v2.0",
        "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
        "token_endpoint": f"{root}/oauth2/v2.0/token",
        "jwks_uri": f"{root}/discovery/v2.0/keys",
        "response_types_supported": ["code"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_post"],
        "tenant_region_scope": "EU",
    }


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
