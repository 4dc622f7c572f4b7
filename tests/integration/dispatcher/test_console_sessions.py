"""Signing in to the console: links that work once, sessions that end, forms that are the console's own."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import literal
from sqlalchemy.ext.asyncio import AsyncEngine

from services.dispatcher.app import create_app
from services.dispatcher.console.cookies import PLAIN_NAME, SECURE_NAME
from services.dispatcher.console.headers import POLICY
from services.dispatcher.settings import DispatcherSettings
from shared.domain.operations import Role
from shared.domain.sessions import SessionLimits, form_token, hash_of, new_token
from shared.persistence.sessions import MAX_LINKS, MAX_SESSIONS, SqlSessions
from shared.runtime.settings import Mode
from tests.support.builders import Person, World
from tests.support.console import cookie, from_page, link_for, session_of, signed

HOST = "https://dispatcher"
SIGN_IN, SIGN_OUT, HOME = "/console/sign-in", "/console/sign-out", "/console/runs"
LIMITS = SessionLimits(idle=timedelta(minutes=30), age=timedelta(hours=12))


@pytest.fixture
async def browser(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A browser without a session; it does not keep cookies by itself."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HOST) as client:
        yield client


@pytest.fixture
async def mara(world: World) -> Person:
    return await world.add_member(await world.add_tenant(), Role.MANAGER)


async def redeem(browser: httpx.AsyncClient, link: str, headers: dict[str, str] | None = None) -> httpx.Response:
    browser.cookies.clear()
    return await browser.post(SIGN_IN, data={"link": link}, headers={**from_page(HOST), **(headers or {})})


def given(answer: httpx.Response) -> str:
    """The session's token that the answer gives to the browser."""
    [morsel] = SimpleCookie(answer.headers["set-cookie"]).values()
    return morsel.value


async def test_looking_at_a_link_uses_nothing_up_and_pressing_the_button_does(
    browser: httpx.AsyncClient, world: World, mara: Person
) -> None:
    link = await link_for(world, mara.id)

    looks = [await browser.get(SIGN_IN, params={"link": link}) for _ in range(3)]
    first, second = await redeem(browser, link), await redeem(browser, link)

    assert [(one.status_code, mara.name in one.text, "set-cookie" in one.headers) for one in looks] == [
        (200, True, False)
    ] * 3
    assert (first.status_code, first.headers["location"]) == (303, HOME)
    assert (second.status_code, "set-cookie" in second.headers) == (410, False)
    assert (await browser.get(SIGN_IN, params={"link": link})).status_code == 410
    home = await browser.get(HOME, headers=cookie(given(first)))
    assert (home.status_code, mara.name in home.text) == (200, True)
    lines = await world.rows("SELECT action, actor_id FROM audit_logs ORDER BY created_at")
    assert {"action": "session.started", "actor_id": mara.id} in lines
    assert [line["action"] for line in lines].count("session.started") == 1


async def test_of_many_who_press_the_button_at_once_one_is_signed_in(
    browser: httpx.AsyncClient, world: World, mara: Person
) -> None:
    link = await link_for(world, mara.id)

    answers = await asyncio.gather(*(redeem(browser, link) for _ in range(12)))

    assert sorted(answer.status_code for answer in answers) == [303] + [410] * 11
    assert await world.rows("SELECT count(*) AS n FROM sessions") == [{"n": 1}]


async def test_nothing_that_was_given_out_is_in_the_database(
    browser: httpx.AsyncClient, world: World, mara: Person
) -> None:
    link = await link_for(world, mara.id)
    token = given(await redeem(browser, link))

    rows = str(
        [
            await world.rows(f"SELECT * FROM {table}")  # noqa: S608  our own names
            for table in ("sessions", "sign_in_links", "audit_logs")
        ]
    )

    assert hash_of(token) in rows
    assert hash_of(link) in rows
    assert token not in rows
    assert link not in rows


@pytest.mark.parametrize(
    "link", ["", "x", "x" * 43, "x" * 199, "x" * 5000, "\x00", "é" * 43, "https://evil.example/" + "x" * 22]
)
async def test_a_link_of_nobody_is_told_what_a_used_one_is_told(browser: httpx.AsyncClient, link: str) -> None:
    answer = await redeem(browser, link)

    assert answer.status_code == 410
    assert "authz.sign_in_link_invalid" in answer.text


async def test_no_address_is_taken_to_go_on_to(browser: httpx.AsyncClient, world: World, mara: Person) -> None:
    """Whatever a request says, signing in leads to the console's first page and signing out to the way in."""
    names = ("next", "url", "return_to", "redirect", "continue", "link")
    elsewhere = dict.fromkeys(names[:-1], "//evil.example")
    link = await link_for(world, mara.id)

    signed_in = await browser.post(
        SIGN_IN,
        params=elsewhere,
        data={**elsewhere, "link": link},
        headers={**from_page(HOST), "Referer": "https://evil.example", "X-Forwarded-Host": "evil.example"},
    )
    token = given(signed_in)
    browser.cookies.clear()
    signed_out = await browser.post(
        SIGN_OUT, params=elsewhere, data=signed(token, **elsewhere), headers={**from_page(HOST), **cookie(token)}
    )

    assert [one.headers["location"] for one in (signed_in, signed_out)] == [HOME, SIGN_IN]
    assert "evil" not in signed_in.text + signed_out.text


async def test_the_cookie_is_for_this_host_and_for_no_script(
    browser: httpx.AsyncClient, world: World, mara: Person
) -> None:
    answer = await redeem(browser, await link_for(world, mara.id))

    parts = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert answer.headers["set-cookie"].startswith(f"{SECURE_NAME}=")
    assert parts == {"httponly", "max-age=43200", "path=/", "samesite=lax", "secure"}


@pytest.mark.parametrize(
    ("mode", "base", "name"),
    [
        (Mode.DEVELOPMENT, "http://127.0.0.1:8080", PLAIN_NAME),
        (Mode.DEVELOPMENT, "http://localhost:8080", PLAIN_NAME),
        (Mode.DEVELOPMENT, "http://[::1]:8080", PLAIN_NAME),
        (Mode.DEVELOPMENT, "http://dispatcher", SECURE_NAME),
        (Mode.DEVELOPMENT, "http://localhost.evil.example", SECURE_NAME),
        (Mode.DEVELOPMENT, "https://127.0.0.1:8080", SECURE_NAME),
        (Mode.PRODUCTION, "http://127.0.0.1:8080", SECURE_NAME),
    ],
)
async def test_the_cookie_goes_over_plain_http_only_in_development_on_this_machine(
    settings: DispatcherSettings, world: World, mara: Person, mode: Mode, base: str, name: str
) -> None:
    app = create_app(settings.model_copy(update={"reinstate_mode": mode}))
    link = await link_for(world, mara.id)

    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base) as client,
    ):
        answer = await client.post(SIGN_IN, data={"link": link}, headers=from_page(base))

    [(given_name, morsel)] = SimpleCookie(answer.headers["set-cookie"]).items()
    assert (given_name, bool(morsel["secure"])) == (name, name == SECURE_NAME)


async def test_signing_in_begins_under_a_new_name_and_ends_what_was_there(
    browser: httpx.AsyncClient, world: World, mara: Person
) -> None:
    """Session fixation: what the browser brought along is never what it is signed in with."""
    before, planted = await session_of(world, mara.id), new_token()

    after = given(await redeem(browser, await link_for(world, mara.id), cookie(before)))
    other = given(await redeem(browser, await link_for(world, mara.id), cookie(planted)))

    asked = [(await browser.get(HOME, headers=cookie(one))).status_code for one in (before, planted, after, other)]
    assert asked == [401, 401, 200, 200]
    assert len({before, planted, after, other}) == 4


async def test_a_disabled_user_is_out_at_once_and_comes_in_by_no_link(
    browser: httpx.AsyncClient, world: World, mara: Person
) -> None:
    token, link = await session_of(world, mara.id), await link_for(world, mara.id)
    assert (await browser.get(HOME, headers=cookie(token))).status_code == 200

    await world.change("UPDATE users SET disabled_at = clock_timestamp() WHERE id = :id", id=mara.id)

    assert (await browser.get(HOME, headers=cookie(token))).status_code == 401
    assert (await browser.get(SIGN_IN, params={"link": link})).status_code == 410
    assert (await redeem(browser, link)).status_code == 410


async def test_signing_out_ends_the_session_for_whoever_has_a_copy_of_it(
    browser: httpx.AsyncClient, world: World, mara: Person
) -> None:
    token = await session_of(world, mara.id)

    answer = await browser.post(SIGN_OUT, data=signed(token), headers={**from_page(HOST), **cookie(token)})

    assert answer.status_code == 303
    assert SimpleCookie(answer.headers["set-cookie"])[SECURE_NAME]["max-age"] == "0"
    browser.cookies.clear()
    assert (await browser.get(HOME, headers=cookie(token))).status_code == 401


async def test_a_form_of_elsewhere_is_refused_and_changes_nothing(
    browser: httpx.AsyncClient, world: World, mara: Person
) -> None:
    token, link = await session_of(world, mara.id), await link_for(world, mara.id)
    other = await session_of(world, mara.id)
    own = from_page(HOST)
    good = signed(token)
    forged: list[tuple[dict[str, str], dict[str, str]]] = [
        (own, {}),
        (own, {"form_token": ""}),
        (own, {"form_token": form_token(token)[:-1]}),
        (own, {"form_token": "é" * 64}),
        (own, signed(other)),
        ({}, good),
        ({"Origin": "https://evil.example"}, good),
        ({"Origin": "null"}, good),
        ({"Origin": "https://dispatcher.evil.example"}, good),
        ({"Origin": "https://dispatcher:444"}, good),
        ({"Origin": HOST, "Sec-Fetch-Site": "cross-site"}, good),
        ({"Origin": HOST, "Sec-Fetch-Site": "same-site"}, good),
        ({"Sec-Fetch-Site": "none"}, good),
    ]

    for headers, form in forged:
        answer = await browser.post(SIGN_OUT, data=form or {"x": ""}, headers={**headers, **cookie(token)})
        assert (answer.status_code, "request.forged" in answer.text) == (403, True), (headers, form)
        browser.cookies.clear()
        if form is good:
            answer = await browser.post(SIGN_IN, data={"link": link}, headers=headers)
            assert (answer.status_code, "set-cookie" in answer.headers) == (403, False), headers

    assert (await browser.get(HOME, headers=cookie(token))).status_code == 200
    assert (await redeem(browser, link)).status_code == 303


async def test_with_an_address_of_its_own_the_console_takes_forms_from_there_only(
    settings: DispatcherSettings, world: World, mara: Person
) -> None:
    """Even from the host that a request names, which a proxy may have let through."""
    app = create_app(settings.model_copy(update={"console_url": "https://console.example.com"}))
    told = {}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HOST) as client,
    ):
        for origin in (HOST, "http://console.example.com", "https://console.example.com"):
            link = await link_for(world, mara.id)
            told[urlsplit(origin).geturl()] = (
                await client.post(SIGN_IN, data={"link": link}, headers={"Origin": origin})
            ).status_code

    assert list(told.values()) == [403, 403, 303]


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"Content-Type": "application/json"}, b"{}", 422),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x--", 422),
        ({"Content-Type": "text/plain"}, b"link=x", 422),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"link=a&link=b", 422),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"link=%ff", 422),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"link=\xff", 422),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"&".join([b"a=b"] * 300), 422),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"link=" + b"x" * 70_000, 413),
    ],
)
async def test_a_form_that_no_page_sends_is_refused(
    browser: httpx.AsyncClient, headers: dict[str, str], content: bytes, status: int
) -> None:
    answer = await browser.post(SIGN_IN, content=content, headers={**from_page(HOST), **headers})

    assert answer.status_code == status


async def test_the_api_does_not_know_the_cookie_nor_the_console_a_token(
    browser: httpx.AsyncClient, world: World, mara: Person
) -> None:
    token = await session_of(world, mara.id)

    assert (await browser.get("/v1/notifications", headers=cookie(token))).status_code == 401
    assert (await browser.get("/v1/notifications", headers=mara.headers)).status_code == 200
    assert (await browser.get(HOME, headers=mara.headers)).status_code == 401


@pytest.mark.parametrize("path", [SIGN_IN, HOME, "/console/nothing", "/console/assets/x/y"])
async def test_every_answer_says_what_a_page_may_do(browser: httpx.AsyncClient, path: str) -> None:
    answer = await browser.get(path)

    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["cache-control"] == "no-store"
    assert (answer.headers["x-content-type-options"], answer.headers["x-frame-options"]) == ("nosniff", "DENY")
    assert "unsafe" not in POLICY


async def test_no_page_has_a_script_or_a_style_of_its_own(
    browser: httpx.AsyncClient, world: World, mara: Person
) -> None:
    token = await session_of(world, mara.id)
    pages = [
        (await browser.get(SIGN_IN)).text,
        (await browser.get(SIGN_IN, params={"link": await link_for(world, mara.id)})).text,
        (await browser.get(HOME, headers=cookie(token))).text,
        (await browser.get(HOME)).text,
    ]

    for text in pages:
        assert re.findall(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|javascript:", text) == []
        assert re.findall(r"(?:src|href|action)=\"(?!/console|#)", text) == []


async def test_a_name_is_shown_as_text(browser: httpx.AsyncClient, world: World) -> None:
    person = await world.add_person('<script src="//evil.example"></script>')
    token = await session_of(world, person.id)

    page = (await browser.get(HOME, headers=cookie(token))).text

    assert "<script src=&#34;//evil" in page.replace("&lt;", "<")
    assert '<script src="//evil' not in page


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)

    def now(self) -> "literal[datetime]":
        return literal(self.at)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def store(engine: AsyncEngine, time: Time) -> SqlSessions:
    return SqlSessions(engine, LIMITS, now=time.now)


async def signed_in(store: SqlSessions, user: UUID) -> str:
    link, token = new_token(), new_token()
    assert await store.add_link(user, hash_of(link), valid_for=timedelta(minutes=10), created_by="test")
    assert await store.redeem(hash_of(link), hash_of(token), replacing=None)
    return hash_of(token)


@pytest.mark.parametrize(
    ("after", "works"), [(timedelta(minutes=10) - timedelta(seconds=1), True), (timedelta(minutes=10), False)]
)
async def test_a_link_works_until_its_time_is_over(
    store: SqlSessions,
    time: Time,
    mara: Person,
    after: timedelta,
    works: bool,  # noqa: FBT001  a parameter
) -> None:
    link = hash_of(new_token())
    made = await store.add_link(mara.id, link, valid_for=timedelta(minutes=10), created_by="test")
    assert made is not None
    assert made[1] == time.at + timedelta(minutes=10)

    time.at += after

    assert (await store.of_link(link) is not None) is works
    assert (await store.redeem(link, hash_of(new_token()), replacing=None) is not None) is works


async def test_a_session_ends_when_it_is_idle_for_too_long(store: SqlSessions, time: Time, mara: Person) -> None:
    session = await signed_in(store, mara.id)
    for _ in range(3):  # each look keeps it alive
        time.at += timedelta(minutes=29)
        assert await store.find(session) is not None

    time.at += timedelta(minutes=30)

    assert await store.find(session) is None


async def test_a_session_ends_at_its_age_however_busy_it_is(store: SqlSessions, time: Time, mara: Person) -> None:
    session = await signed_in(store, mara.id)
    looks = 0
    while await store.find(session) is not None:
        time.at += timedelta(minutes=20)
        looks += 1

    assert timedelta(minutes=20) * looks == LIMITS.age


async def test_what_one_person_leaves_behind_is_bounded(
    store: SqlSessions, time: Time, world: World, mara: Person
) -> None:
    other = await world.add_person("Bob")
    kept = await signed_in(store, other.id)
    sessions = []
    for _ in range(MAX_SESSIONS + 3):
        time.at += timedelta(seconds=1)
        sessions.append(await signed_in(store, mara.id))
    for _ in range(MAX_LINKS + 3):
        time.at += timedelta(seconds=1)
        await store.add_link(mara.id, hash_of(new_token()), valid_for=timedelta(minutes=10), created_by="test")

    of_mara = "SELECT count(*) AS n FROM {} WHERE user_id = :user"
    assert await world.rows(of_mara.format("sessions"), user=mara.id) == [{"n": MAX_SESSIONS}]
    assert await world.rows(of_mara.format("sign_in_links"), user=mara.id) == [{"n": MAX_LINKS}]
    assert [await store.find(one) is not None for one in sessions] == [False] * 3 + [True] * MAX_SESSIONS
    assert await store.find(kept) is not None

    time.at += timedelta(days=2)
    await signed_in(store, mara.id)

    assert await world.rows(of_mara.format("sessions"), user=mara.id) == [{"n": 1}]
    assert await world.rows(of_mara.format("sign_in_links"), user=mara.id) == [{"n": 1}]
