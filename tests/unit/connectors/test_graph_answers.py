from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from uuid import uuid4

import pytest

from shared.connectors.graph.answers import Subject, error_of, json_object, retry_after
from shared.connectors.graph.settings import GraphSettings
from shared.connectors.port import TenantConnection
from shared.domain.errors import (
    ConflictError,
    NotFoundError,
    PermanentError,
    ReinstateError,
    RunFatalError,
    SafeCode,
    ThrottledError,
    TransientError,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
GOOD = {"client_id": "app", "secret_ref": "env:MEADOW_SECRET"}


def settings(external_id: str = "dir", **more: str) -> GraphSettings:
    return GraphSettings.of(TenantConnection(uuid4(), "graph", external_id, GOOD | more))


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "2.128"}, 2.128),
        ({"retry-after": " 0 "}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "1e99"}, 3600.0),
        (
            {"retry-after": format_datetime(NOW + timedelta(seconds=90), usegmt=True), "date": format_datetime(NOW)},
            90.0,
        ),
        ({"retry-after": format_datetime(NOW - timedelta(days=9), usegmt=True), "date": format_datetime(NOW)}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_the_wait_is_read_as_it_was_meant(headers: dict[str, str], wait: float | None) -> None:
    assert retry_after(headers) == wait
    assert error_of(429, headers, b"", Subject.OBJECT).retry_after == wait  # type: ignore[attr-defined]  # only a throttled error has it


@pytest.mark.parametrize(
    ("status", "subject", "error", "code"),
    [
        (400, Subject.WRITE, PermanentError, SafeCode.GRAPH_BAD_REQUEST),
        (401, Subject.OBJECT, RunFatalError, SafeCode.AUTH_TOKEN_INVALID),
        (403, Subject.COLLECTION, RunFatalError, SafeCode.AUTH_PERMISSION_MISSING),
        (403, Subject.OBJECT, PermanentError, SafeCode.AUTH_PERMISSION_MISSING),
        (403, Subject.WRITE, PermanentError, SafeCode.AUTH_PERMISSION_MISSING),
        (404, Subject.OBJECT, NotFoundError, SafeCode.GRAPH_NOT_FOUND),
        (409, Subject.WRITE, ConflictError, SafeCode.GRAPH_CONFLICT),
        (412, Subject.WRITE, ConflictError, SafeCode.GRAPH_CONFLICT),
        (422, Subject.WRITE, PermanentError, SafeCode.GRAPH_BAD_REQUEST),
        (429, Subject.WRITE, ThrottledError, SafeCode.GRAPH_THROTTLED),
        (500, Subject.OBJECT, TransientError, SafeCode.GRAPH_UNAVAILABLE),
        (502, Subject.OBJECT, TransientError, SafeCode.GRAPH_UNAVAILABLE),
        (503, Subject.OBJECT, TransientError, SafeCode.GRAPH_UNAVAILABLE),
        (504, Subject.WRITE, TransientError, SafeCode.GRAPH_UNAVAILABLE),
        (509, Subject.OBJECT, ThrottledError, SafeCode.GRAPH_THROTTLED),
        (302, Subject.OBJECT, PermanentError, SafeCode.GRAPH_BAD_RESPONSE),
        (302, Subject.WRITE, TransientError, SafeCode.GRAPH_BAD_RESPONSE),
    ],
)
def test_a_status_becomes_the_error_that_asks_for_the_right_reaction(
    status: int, subject: Subject, error: type[ReinstateError], code: SafeCode
) -> None:
    found = error_of(status, {}, b"", subject)
    assert type(found) is error
    assert found.code is code


def test_a_refusal_with_a_hint_to_wait_is_throttling() -> None:
    found = error_of(503, {"retry-after": "4.5"}, b"", Subject.OBJECT)
    assert isinstance(found, ThrottledError)
    assert found.retry_after == 4.5


def test_an_error_keeps_codes_and_never_the_services_words() -> None:
    body = b'{"error": {"code": "ModelValidationFailure", "message": "SECRET-CANARY"}}'
    found = error_of(400, {"request-id": "abc-1"}, body, Subject.WRITE)
    assert found.context == {"http_status": 400, "graph_code": "ModelValidationFailure", "graph_request_id": "abc-1"}
    odd = error_of(400, {"request-id": "<b>"}, b'{"error": {"code": "SECRET CANARY!"}}', Subject.WRITE)
    assert odd.context == {"http_status": 400}


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"null", b'{"a": NaN}', b"[" * 100_000, b"\xff\xfe"])
def test_an_answer_that_is_no_json_object_is_refused(content: bytes) -> None:
    for subject, error in ((Subject.OBJECT, PermanentError), (Subject.WRITE, TransientError)):
        with pytest.raises(error) as caught:
            json_object(content, subject)
        assert caught.value.code is SafeCode.GRAPH_BAD_RESPONSE


@pytest.mark.parametrize(
    ("field", "raw"),
    [
        ("client_id", ""),
        ("client_id", "a/b"),
        ("graph_url", "http://graph.example"),
        ("graph_url", "https://user:pass@graph.example"),
        ("graph_url", "ftp://graph.example"),
        ("graph_url", "https://[graph"),
        ("authority_url", "https://"),
        ("api_version", ".."),
        ("total_timeout_s", "600"),
        ("total_timeout_s", "soon"),
        ("connect_timeout_s", "0"),
    ],
)
def test_a_setting_that_cannot_be_right_is_refused_by_name(field: str, raw: str) -> None:
    with pytest.raises(RunFatalError) as caught:
        settings(**{field: raw})
    assert caught.value.code is SafeCode.TENANT_CONNECTION_INVALID
    assert caught.value.context == {"field": field}


def test_settings_do_not_show_in_a_log() -> None:
    assert "MEADOW_SECRET" not in repr(settings())


def test_the_secret_comes_from_where_the_reference_points(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEADOW_SECRET", "canary-one")
    (tmp_path / "secret").write_text("canary-two\n")
    assert settings().secret() == "canary-one"
    assert settings(secret_ref=f"file:{tmp_path / 'secret'}").secret() == "canary-two"


@pytest.mark.parametrize("raw", ["", "canary", "env:", "env:NOT_SET_ANYWHERE", "file:/nowhere/at/all", "vault:x"])
def test_a_secret_that_cannot_be_had_is_refused_without_naming_it(raw: str) -> None:
    with pytest.raises(RunFatalError) as caught:
        settings(secret_ref=raw).secret()
    assert caught.value.context == {"field": "secret_ref"}
