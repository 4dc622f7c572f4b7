"""What a log line shows: nothing that is a secret by its name or its looks, on one line, whatever a caller passes."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from shared.runtime.redaction import REDACTED, TEXT_LIMIT, is_denied, redacted, scrubbed

CANARY = "Hunter2-canary"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.c2lnbmF0dXJlSHVudGVyMg"
PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\nabc\n-----END RSA PRIVATE KEY-----"
ENTRA = "abc8Q~Hunter2-canary_abcdefghijklmnopqrs"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {CANARY}",
        f"bearer   {CANARY}, and more",
        "Basic SHVudGVyMi1jYW5hcnk=",
        f"amqp://guest:{CANARY}@broker:5672/v",
        f"postgresql://user:p@{CANARY}@db/x",
        f"https://{CANARY}@example.com",
        f"password={CANARY}; other=1",
        f'{{"client_secret": "{CANARY}", "name": "x"}}',
        f"{{'accessToken': '{CANARY}'}}",
        f"?sig={CANARY}&sv=2020",
        f"AccountKey={CANARY}==",
        f"pre-shared-key: {CANARY}",
        f'Password = "two {CANARY} words"',
        PEM,
        PEM[: len(PEM) // 2],
        f"key {PEM} and {CANARY[:0]}more",
        f"client secret is {ENTRA}.",
    ],
)
def test_what_looks_like_a_secret_is_not_shown(text: str) -> None:
    shown = scrubbed(text)
    assert CANARY not in shown
    assert "SHVudGVyMi1jYW5hcnk" not in shown
    assert "\n" not in shown


@pytest.mark.parametrize("text", [JWT, f"got {JWT}!", f"x={JWT.rpartition('.')[0]}", f"[{JWT}.aaa.bbb]"])
def test_a_token_is_known_by_its_form(text: str) -> None:
    assert all(part not in scrubbed(text) for part in JWT.split("."))


def test_who_it_is_about_is_not_told() -> None:
    assert scrubbed("sent to ada.lovelace+x@contoso.com today") == f"sent to {REDACTED}@contoso.com today"


@pytest.mark.parametrize(
    "text",
    [
        "graph.throttled",
        "restore.preview",
        "0198c0de-0000-7000-8000-000000000001",
        "auth.token_invalid",
        "ab" * 32,
        "3",
    ],
)
def test_what_is_no_secret_is_shown_as_it_is(text: str) -> None:
    assert scrubbed(text) == text


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "clientSecret",
        "X-Api-Key",
        "refresh_token",
        "Set-Cookie",
        "db_dsn",
        "database_url",
        "graphUrl",
        "wifiPsk",
    ],
)
def test_a_name_alone_hides_its_value(name: str) -> None:
    assert is_denied(name)
    assert redacted({name: CANARY, "detail": [{name: {"deep": CANARY}}]}).pop(name) == REDACTED
    assert CANARY not in str(redacted({"detail": [{name: {"deep": CANARY}}]}))


def test_a_name_that_only_sounds_like_a_secret_is_on_the_other_list() -> None:
    assert redacted({"token_expires_in": 3600, "Token_expires_in": 3600}) == {
        "token_expires_in": 3600,
        "Token_expires_in": REDACTED,
    }


SECRETS = st.text("abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789_-", min_size=12, max_size=40)
NOISE = st.text(max_size=60)
FORMS = st.sampled_from(
    [
        "Bearer {}",
        "password={}",
        '"client_secret": "{}"',
        "amqp://u:{}@host/v",
        "-----BEGIN X-----{}-----END X-----",
        "eyJhbGciOi{}.{}.{}",
        "token: {}",
    ]
)


@given(NOISE, FORMS, SECRETS, NOISE)
def test_whatever_stands_around_a_secret_does_not_save_it(before: str, form: str, secret: str, after: str) -> None:
    assume(secret not in before + after)
    shown = scrubbed(f"{before} {form.replace('{}', secret)} {after}")
    assert secret not in shown


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=12,
)


def texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for name, one in value.items():
                yield name
                yield from texts(one)
        case list():
            for one in value:
                yield from texts(one)


@given(st.dictionaries(st.text(max_size=12), VALUES, max_size=5))
def test_every_text_is_printable_short_and_stays_as_it_is(fields: dict[str, Any]) -> None:
    shown = redacted(fields)
    assert all(one.isprintable() and len(one) <= TEXT_LIMIT for one in texts(shown))
    again = redacted(shown)
    assert json.dumps(again, default=repr) == json.dumps(shown, default=repr)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), st.booleans() | st.text(max_size=8), max_size=4))
def test_no_field_of_a_call_switches_it_off(lines: io.StringIO, fields: dict[str, Any]) -> None:
    lines.seek(0)
    lines.truncate()
    reserved = {"event", "level", "exc_info", "stack_info", "extra"} | {name for name in fields if name.startswith("_")}
    options = {name: value for name, value in fields.items() if name not in reserved}
    options |= {"redact": False, "raw": True, "processors": [], "safe": CANARY * 0}
    structlog.get_logger("any").info("some.thing", **{**options, "password": CANARY, "reason": f"token={CANARY}"})
    assert CANARY not in lines.getvalue()
    assert len(lines.getvalue().splitlines()) == 1


class Rude:
    def __str__(self) -> str:
        raise RuntimeError(CANARY)


def test_a_value_that_cannot_be_shown_or_never_ends_does_not_end_the_line(lines: io.StringIO) -> None:
    endless: list[Any] = []
    endless.append(endless)
    structlog.get_logger("any").info("some.thing", rude=Rude(), endless=endless, raw=memoryview(CANARY.encode()))
    assert CANARY not in lines.getvalue()
    assert len(lines.getvalue().splitlines()) == 1


@pytest.mark.parametrize("break_", ["\n", "\r\n", "\x85", "\u2028", "\x1b[2K", "\x00", "\u202e"])
def test_nobody_writes_a_second_line_or_hides_one(lines: io.StringIO, break_: str) -> None:
    forged = f'x{break_}{{"action": "forged"}}'
    structlog.get_logger("any").info(forged, **{"field": forged, "na" + break_ + "me": forged})
    logging.getLogger("aio_pika").warning(forged)
    assert len(lines.getvalue().splitlines()) == 2
    assert break_ not in lines.getvalue().replace("\n", "", 2 if break_ == "\n" else 0)


def test_what_ends_a_process_is_told_without_its_text(lines: io.StringIO) -> None:
    error = ValueError(CANARY)
    sys.excepthook(ValueError, error, None)
    line = json.loads(lines.getvalue())
    assert (line["action"], line["error_type"], CANARY in lines.getvalue()) == ("process.crashed", "ValueError", False)
