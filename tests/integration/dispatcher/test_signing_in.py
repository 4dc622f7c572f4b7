"""People who sign in with an issuer of their own: the real dispatcher, a real database, an issuer that listens."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from services.dispatcher.app import create_app
from services.dispatcher.settings import DispatcherSettings
from shared.domain.operations import Role
from shared.persistence.administration import Link, SqlAdministration
from shared.persistence.users import SqlDirectory
from shared.runtime.settings import Mode
from simulator.issuer import DevIssuer
from tests.support.builders import Person, World
from tests.support.issuing import AUDIENCE, altered, bearer, issuing

EMAIL = "ada@example.com"


@pytest.fixture
def issuer() -> Iterator[DevIssuer]:
    with issuing() as running:
        yield running


@pytest.fixture
def chosen() -> dict[str, Any]:
    """What a test sets beside the issuer."""
    return {}


@pytest.fixture
async def app(settings: DispatcherSettings, issuer: DevIssuer, chosen: dict[str, Any]) -> AsyncIterator[FastAPI]:
    about = {"reinstate_mode": Mode.DEVELOPMENT, "oidc_issuer": issuer.url, "oidc_audience": AUDIENCE}
    app = create_app(settings.model_copy(update={**about, **chosen}))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def ada(world: World, tenant: str) -> Person:
    """A member who has never signed in with the issuer."""
    person = await world.add_member(UUID(tenant.rpartition("/")[2]), Role.OPERATOR, "Ada")
    await world.change("UPDATE users SET email = :email WHERE id = :id", email=EMAIL, id=person.id)
    return person


@pytest.fixture
def admin(world: World) -> SqlAdministration:
    return SqlAdministration(world.engine, actor="cli:test")


async def status(http: httpx.AsyncClient, tenant: str, token: str) -> int:
    return (await http.get(tenant, headers=bearer(token))).status_code


async def test_a_linked_person_is_who_the_link_says_beside_the_service_token(
    http: httpx.AsyncClient, tenant: str, ada: Person, admin: SqlAdministration, issuer: DevIssuer, world: World
) -> None:
    before = await status(http, tenant, issuer.token("ada"))
    assert await admin.link_user(EMAIL, issuer.url, "ada") is Link.MADE

    started = await http.post(
        f"{tenant}/bulk-operation-runs",
        json={"resource": "policy", "action": "sync"},
        headers=bearer(issuer.token("ada")),
    )

    assert (before, started.status_code) == (401, 201)
    assert started.json()["requested_by"] == "Ada"
    assert await status(http, tenant, ada.token) == 200
    actions = [row["action"] for row in await world.rows("SELECT action FROM audit_logs ORDER BY created_at")]
    assert actions == ["member.linked", "bulk_operation_run.started"]


async def test_a_link_is_made_once_and_a_subject_is_one_person(
    ada: Person, admin: SqlAdministration, world: World, tenant: str
) -> None:
    other = await world.add_member(UUID(tenant.rpartition("/")[2]))
    other_email = f"{other.id}@example.com"

    outcomes = [
        await admin.link_user("nobody@example.com", "https://i", "ada"),
        await admin.link_user(EMAIL, "https://i", "ada"),
        await admin.link_user(EMAIL, "https://i", "ada"),
        await admin.link_user(EMAIL, "https://i", "another"),
        await admin.link_user(other_email, "https://i", "ada"),
        await admin.link_user(other_email, "https://j", "ada"),
        await admin.link_user(EMAIL, "https://i", "another", replace=True),
    ]

    assert outcomes == [
        Link.NO_USER,
        Link.MADE,
        Link.MADE,
        Link.USER_TAKEN,
        Link.SUBJECT_TAKEN,
        Link.MADE,
        Link.MADE,
    ]
    directory = SqlDirectory(world.engine)
    assert await directory.by_identity("https://i", "ada") is None
    found = await directory.by_identity("https://i", "another")
    assert found is not None
    assert found.id == ada.id


async def test_every_refusal_is_one_answer_that_says_nothing(
    http: httpx.AsyncClient, tenant: str, ada: Person, admin: SqlAdministration, issuer: DevIssuer, world: World
) -> None:
    """A forger cannot tell a wrong key from a wrong audience, nor from a person who is disabled."""
    await admin.link_user(EMAIL, issuer.url, "ada")
    good = issuer.token("ada")
    stranger = DevIssuer(issuer.url, AUDIENCE)
    tokens = [
        altered(good, sub="owner"),
        stranger.token("ada"),
        issuer.token("ada", aud="another"),
        issuer.token("ada", exp=1),
        issuer.token("nobody"),
        "a.b.c",
        "nobody",
    ]
    answers = [await http.get(tenant, headers=bearer(token)) for token in tokens]
    await world.change("UPDATE users SET disabled_at = clock_timestamp() WHERE id = :id", id=ada.id)
    answers.append(await http.get(tenant, headers=bearer(good)))
    answers.append(await http.get(tenant))

    assert {answer.status_code for answer in answers} == {401}
    assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}
    assert len({answer.text for answer in answers}) == 1
    counted = (await http.get("/metrics")).text
    for reason in ("signature", "key", "claims", "time", "malformed", "service"):
        assert f'reinstate_sign_ins_refused_total{{reason="{reason}"}}' in counted
    assert 'reinstate_sign_ins_refused_total{reason="unknown"} 2.0' in counted


async def test_no_part_of_a_token_is_logged_or_stored(
    http: httpx.AsyncClient,
    tenant: str,
    ada: Person,
    admin: SqlAdministration,
    issuer: DevIssuer,
    world: World,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    await admin.link_user(EMAIL, issuer.url, "ada")
    tokens = [issuer.token("ada", canary="c4n4ry"), altered(issuer.token("ada"), canary="c4n4ry")]
    for token in tokens:
        await status(http, tenant, token)
    rows = str(await world.rows("SELECT * FROM audit_logs")) + str(await world.rows("SELECT * FROM users"))
    logged = "".join(capfd.readouterr()) + caplog.text

    for token in tokens:
        for part in token.split("."):
            assert part not in logged + rows
    assert "c4n4ry" not in logged + rows


@pytest.mark.parametrize("chosen", [{"oidc_bind_by_email": True}])
async def test_a_verified_address_binds_once_where_settings_say_so(
    http: httpx.AsyncClient, tenant: str, ada: Person, issuer: DevIssuer, world: World
) -> None:
    """First an address that is not verified, then the first subject; nobody else gets in by the same address."""
    unverified = issuer.token("mallory", email=EMAIL)
    first = issuer.token("ada", email=EMAIL.title(), email_verified=True)
    second = issuer.token("mallory", email=EMAIL, email_verified=True)
    unknown = issuer.token("eve", email="eve@example.com", email_verified=True)

    told = [await status(http, tenant, token) for token in (unverified, first, second, unknown, issuer.token("ada"))]

    assert told == [401, 200, 401, 401, 200]
    assert [row["action"] for row in await world.rows("SELECT action FROM audit_logs")] == ["member.bound"]


@pytest.mark.parametrize("chosen", [{"oidc_bind_by_email": True}])
async def test_a_disabled_person_is_not_bound_and_does_not_come_back_by_another_address(
    http: httpx.AsyncClient, tenant: str, ada: Person, admin: SqlAdministration, issuer: DevIssuer, world: World
) -> None:
    """A subject that was somebody's stays that somebody's, even where a free user has its present address."""
    await admin.link_user(EMAIL, issuer.url, "ada")
    free = await world.add_member(UUID(tenant.rpartition("/")[2]), Role.OWNER)
    await world.change("UPDATE users SET disabled_at = clock_timestamp() WHERE id = :id", id=ada.id)
    disabled = await world.add_person("Disabled", email="gone@example.com")
    await world.change("UPDATE users SET disabled_at = clock_timestamp() WHERE id = :id", id=disabled.id)

    renamed = issuer.token("ada", email=f"{free.id}@example.com", email_verified=True)
    gone = issuer.token("gone", email="gone@example.com", email_verified=True)

    assert [await status(http, tenant, token) for token in (renamed, gone)] == [401, 401]
    assert await world.rows("SELECT id FROM users WHERE oidc_subject = 'gone'") == []


@pytest.mark.parametrize("chosen", [{"oidc_bind_by_email": True}])
async def test_of_many_first_sign_ins_at_once_all_are_the_same_person(
    http: httpx.AsyncClient, tenant: str, ada: Person, issuer: DevIssuer, world: World
) -> None:
    token = issuer.token("ada", email=EMAIL, email_verified=True)

    told = await asyncio.gather(*(status(http, tenant, token) for _ in range(10)))

    assert set(told) == {200}
    assert len(await world.rows("SELECT id FROM audit_logs WHERE action = 'member.bound'")) == 1


async def test_an_address_binds_nobody_unless_settings_say_so(
    http: httpx.AsyncClient, tenant: str, ada: Person, issuer: DevIssuer, world: World
) -> None:
    assert await status(http, tenant, issuer.token("ada", email=EMAIL, email_verified=True)) == 401
    assert await world.rows("SELECT id FROM users WHERE oidc_subject IS NOT NULL") == []


@pytest.mark.parametrize("chosen", [{"oidc_keys_refresh": 1.0}])
async def test_a_new_key_of_the_issuer_is_found_without_a_restart(
    http: httpx.AsyncClient, tenant: str, ada: Person, admin: SqlAdministration, issuer: DevIssuer
) -> None:
    await admin.link_user(EMAIL, issuer.url, "ada")
    assert await status(http, tenant, issuer.token("ada")) == 200
    issuer.rotate()

    async with asyncio.timeout(10):
        while await status(http, tenant, issuer.token("ada")) != 200:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("chosen", [{"oidc_issuer": "http://127.0.0.1:9"}])
async def test_without_the_issuers_keys_a_token_has_to_wait_and_a_service_token_does_not(
    http: httpx.AsyncClient, tenant: str, ada: Person, issuer: DevIssuer
) -> None:
    """Nobody can tell whether the token is good: that is an outage, not a refusal."""
    answer = await http.get(tenant, headers=bearer(issuer.token("ada")))

    assert (answer.status_code, answer.json()["code"]) == (503, "service.unavailable")
    assert "retry-after" in answer.headers
    assert await status(http, tenant, ada.token) == 200


async def test_a_service_token_is_never_taken_for_one_of_the_issuers(
    http: httpx.AsyncClient, tenant: str, world: World
) -> None:
    """Only a token of three parts goes to the issuer; a service token has none, so neither can be the other."""
    person = await world.add_member(UUID(tenant.rpartition("/")[2]))
    dotted = "a.b.c"
    await world.change(
        "UPDATE users SET token_sha256 = :hash WHERE id = :id",
        hash=hashlib.sha256(dotted.encode()).hexdigest(),
        id=person.id,
    )

    assert await status(http, tenant, dotted) == 401
