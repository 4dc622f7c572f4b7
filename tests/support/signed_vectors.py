"""Makes the test vectors of signed commands.

Run `python -m tests.support.signed_vectors > docs/reference/signed-commands.json`.

Written without the project's own code for signing, so that the two check each other.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NOW = "2026-03-01T12:00:00.000000Z"
TENANT, OTHER_TENANT = "018f2c5e-7d7a-7c3e-9b1a-2f4d6c8e0a11", "018f2c5e-7d7a-7c3e-9b1a-2f4d6c8e0a22"
START = "reinstate.bulk_operation_run.start.v1"
BODY = f'{{"version":1,"tenant_id":"{TENANT}","resource":"policy","action":"sync"}}'
KEYS: dict[str, dict[str, Any]] = {
    "key-good": {"valid_from": "2026-01-01T00:00:00Z", "valid_until": "2027-01-01T00:00:00Z"},
    "key-revoked": {
        "valid_from": "2026-01-01T00:00:00Z",
        "valid_until": "2027-01-01T00:00:00Z",
        "revoked_at": "2026-02-01T00:00:00Z",
    },
    "key-expired": {"valid_from": "2025-01-01T00:00:00Z", "valid_until": "2026-03-01T11:59:59Z"},
    "key-tomorrow": {"valid_from": "2026-03-02T00:00:00Z", "valid_until": "2027-01-01T00:00:00Z"},
}


def private_key(key_id: str) -> bytes:
    """A key that anybody can make: of no use but for vectors."""
    return hashlib.sha256(b"reinstate test vector " + key_id.encode()).digest()


def text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def vector(  # noqa: PLR0913  what a vector is made of
    name: str,
    result: str,
    *,
    key_id: str = "key-good",
    message_id: str = "order-4711",
    signed_at: str = "2026-03-01T11:59:30.250000Z",
    kind: str = START,
    tenant: str = TENANT,
    body: str = BODY,
    user_id: str = "upstream-crm",
    after: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Sign; then change what `after` says, as somebody on the way would."""
    body_sha256 = hashlib.sha256(body.encode()).hexdigest()
    lines = ["reinstate-command-v1", key_id, message_id, signed_at, kind, tenant, body_sha256]
    string_to_sign = "\n".join(lines)
    signature = Ed25519PrivateKey.from_private_bytes(private_key(key_id)).sign(string_to_sign.encode())
    made: dict[str, Any] = {
        "name": name,
        "result": result,
        "message_id": message_id,
        "type": kind,
        "user_id": user_id,
        "headers": {
            "reinstate-algorithm": "ed25519",
            "reinstate-key-id": key_id,
            "reinstate-signed-at": signed_at,
            "reinstate-signature": text(signature),
            "tenantid": tenant,
        },
        "body": body,
        "string_to_sign": string_to_sign,
    }
    changes = dict(after or {})
    made["headers"] |= changes.pop("headers", {})
    made |= changes
    made["headers"] = {name: value for name, value in made["headers"].items() if value is not None}
    return made


def vectors() -> list[dict[str, Any]]:
    bad = "signature.invalid"
    other_tenant = BODY.replace(TENANT, OTHER_TENANT)
    unsigned = dict.fromkeys(
        ("reinstate-algorithm", "reinstate-key-id", "reinstate-signed-at", "reinstate-signature"), None
    )
    signature = vector("", "")["headers"]["reinstate-signature"]
    abort = f'{{"version":1,"tenant_id":"{TENANT}","run_type":"bulk_operation_run","run_id":"{OTHER_TENANT}"}}'
    return [
        vector("a start", "accepted"),
        vector("an abort", "accepted", kind="reinstate.run.abort.v1", body=abort),
        vector("an id with letters of any alphabet", "accepted", message_id="Bestellung-Ärger-Nº-1"),
        vector("a time without fractions", "accepted", signed_at="2026-03-01T11:59:30Z"),
        vector("no signature at all", "signature.missing", after={"headers": unsigned}),
        vector("a header is missing", bad, after={"headers": {"reinstate-signed-at": None}}),
        vector("another algorithm", bad, after={"headers": {"reinstate-algorithm": "none"}}),
        vector("another id", bad, after={"message_id": "order-4712"}),
        vector("another time", bad, after={"headers": {"reinstate-signed-at": "2026-03-01T11:59:31.250000Z"}}),
        vector("a time with another spelling", bad, after={"headers": {"reinstate-signed-at": "2026-03-01 11:59:30Z"}}),
        vector("another type", bad, after={"type": "reinstate.restore_run.start.v1"}, body=BODY),
        vector(
            "another tenant in header and body",
            bad,
            after={"headers": {"tenantid": OTHER_TENANT}, "body": other_tenant},
        ),
        vector("the header's tenant is not the body's", bad, body=other_tenant),
        vector("a swapped body", bad, after={"body": BODY.replace("sync", "export")}),
        vector("the same JSON with other bytes", bad, after={"body": BODY.replace(":1,", ": 1,")}),
        vector("a changed signature", bad, after={"headers": {"reinstate-signature": "A" + signature[1:]}}),
        vector("a signature with padding", bad, after={"headers": {"reinstate-signature": signature + "=="}}),
        vector("another registered key", bad, after={"headers": {"reinstate-key-id": "key-tomorrow"}}),
        vector("a key that nobody registered", "signature.key_unknown", key_id="key-of-nobody"),
        vector("a revoked key", "signature.key_revoked", key_id="key-revoked"),
        vector("an expired key", "signature.key_expired", key_id="key-expired"),
        vector("a key that is not valid yet", "signature.key_not_yet_valid", key_id="key-tomorrow"),
        vector("an old command", "signature.too_old", signed_at="2026-03-01T10:54:59.999999Z"),
        vector("as old as may be", "accepted", signed_at="2026-03-01T10:55:00.000000Z"),
        vector("a command from the future", "signature.from_the_future", signed_at="2026-03-01T12:05:00.000001Z"),
        vector("a clock that is just fast enough", "accepted", signed_at="2026-03-01T12:05:00.000000Z"),
        vector("a tenant that is not allowed", "upstream.tenant_not_allowed", tenant=OTHER_TENANT, body=other_tenant),
        vector(
            "an operation that is not allowed", "upstream.operation_not_allowed", body=BODY.replace("sync", "export")
        ),
        vector("published by another upstream", "upstream.not_the_publisher", user_id="upstream-erp"),
    ]


def document() -> dict[str, Any]:
    keys = {
        key_id: {
            "private_key": text(private_key(key_id)),
            "public_key": text(
                Ed25519PrivateKey.from_private_bytes(private_key(key_id)).public_key().public_bytes_raw()
            ),
            **about,
        }
        for key_id, about in KEYS.items()
    }
    return {
        "about": "Test vectors of docs/reference/signed-commands.md. The keys are public.",
        "now": NOW,
        "max_age_seconds": 3600,
        "tolerance_seconds": 300,
        "upstream": {"name": "crm", "tenants": [TENANT], "operations": ["policy.sync", "run.abort"]},
        "keys": keys,
        "vectors": vectors(),
    }


if __name__ == "__main__":
    print(json.dumps(document(), indent=2, ensure_ascii=False))  # noqa: T201  a generator that prints its document
