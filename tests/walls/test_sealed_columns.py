"""Which columns hold what: a new one that may hold a secret, or content, is sealed or says here why it is not."""

import re

from sqlalchemy import Column, LargeBinary

from shared.persistence.tables import metadata

SEALED = {
    "archive_chunks.content",
    "snapshots.content",
    "tenant_credentials.content",
}
IN_CLEAR = {
    "data_keys.wrapped": "wrapped by a key-encryption key",
    "outbox.body": "a message of ids and states, which the broker has as well",
    "outbox.claim_token": "a random number of the relay's, worth nothing to anybody else",
    "sessions.token_sha256": "the SHA-256 of a random token",
    "sign_in_links.token_sha256": "the SHA-256 of a random token",
    "upstream_keys.public_key": "the public half of a pair",
    "users.token_sha256": "the SHA-256 of a random token",
}
_SOUNDS_SECRET = re.compile(r"secret|passw|token|credential|cookie|webhook|url|dsn|api_?key|private_?key|assertion")


def _is_delicate(column: Column[object]) -> bool:
    return isinstance(column.type, LargeBinary) or _SOUNDS_SECRET.search(column.name) is not None


def test_every_column_that_may_hold_a_secret_is_sealed_or_says_why_not() -> None:
    delicate = {f"{table.name}.{one.name}" for table in metadata.sorted_tables for one in table.c if _is_delicate(one)}

    assert delicate == SEALED | IN_CLEAR.keys()


def test_what_is_sealed_is_bytes_and_belongs_to_a_tenant() -> None:
    columns = [(metadata.tables[name.partition(".")[0]], name.partition(".")[2]) for name in SEALED]

    assert all(isinstance(table.c[name].type, LargeBinary) for table, name in columns)
    assert all(not table.c.tenant_id.nullable for table, _ in columns)
