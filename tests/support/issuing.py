"""An issuer that listens, and tokens as nobody should make them."""

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import uvicorn

from simulator.issuer import DevIssuer, create_app

AUDIENCE = "reinstate"
START_LIMIT = 10.0  # seconds


@contextmanager
def issuing(audience: str = AUDIENCE) -> Iterator[DevIssuer]:
    """Let an issuer listen on a free local port, in a thread of its own, until the block ends."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        issuer = DevIssuer(f"http://127.0.0.1:{listener.getsockname()[1]}", audience)
        config = uvicorn.Config(create_app(issuer), lifespan="off", log_level="critical", access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + START_LIMIT
        while not server.started:
            assert thread.is_alive(), "the issuer did not start"
            assert time.monotonic() < deadline, "the issuer did not start in time"
            thread.join(0.01)
        try:
            yield issuer
        finally:
            server.should_exit = True
            server.force_exit = True
            thread.join(START_LIMIT)


def bearer(token: str) -> dict[str, str]:
    """What signs in with a token."""
    return {"Authorization": f"Bearer {token}"}


def parts_of(token: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Header, claims and signature of a token."""
    header, claims, signature = token.split(".")
    return json.loads(unpacked(header)), json.loads(unpacked(claims)), signature


def put_together(header: Mapping[str, Any], claims: Mapping[str, Any], signature: str) -> str:
    """A token of these parts, whether or not they belong together."""
    return f"{packed(json.dumps(header).encode())}.{packed(json.dumps(claims).encode())}.{signature}"


def altered(token: str, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
    """The token with other things in it, under the signature that it had."""
    old_header, old_claims, signature = parts_of(token)
    return put_together({**old_header, **(header or {})}, {**old_claims, **claims}, signature)


def unsigned(token: str, algorithm: str = "none") -> str:
    """The token as `none` would have it: with no signature."""
    header, claims, _signature = parts_of(token)
    return put_together({**header, "alg": algorithm}, claims, "")


def signed_with_what_everybody_knows(token: str, keys: Mapping[str, Any]) -> str:
    """The token signed by HMAC with the public key for a secret: what a list of algorithms is there to refuse."""
    header, claims, _signature = parts_of(token)
    body = put_together({**header, "alg": "HS256"}, claims, "").rpartition(".")[0]
    secret = json.dumps(keys["keys"][0]).encode()
    return f"{body}.{packed(hmac.digest(secret, body.encode(), hashlib.sha256))}"


def packed(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unpacked(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
