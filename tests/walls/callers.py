"""Everybody who might call: each role, each way to be nobody, each way to be somewhere else."""

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID, uuid4

from services.dispatcher.console.headers import PREFIX as CONSOLE
from shared.domain.capabilities import Role
from shared.domain.sessions import new_token
from simulator.issuer import DevIssuer
from tests.support.builders import Person, World
from tests.support.console import cookie, session_of
from tests.support.issuing import altered, bearer, signed_with_what_everybody_knows, unsigned

DAY = 86400  # seconds


@dataclass(frozen=True)
class Caller:
    """Somebody with headers. `role` is the one in the tenant that the path names; None for strangers there."""

    relation: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    is_signed_in: bool = False
    role: Role | None = None
    user_id: UUID | None = None
    tenant: UUID | None = None  # in the path, where it is not the tenant under test
    session: str | None = field(default=None, repr=False)  # of the console; with it, nothing else is sent

    def __str__(self) -> str:
        return self.relation

    def is_signed_in_at(self, path: str) -> bool:
        """Tell whether a route knows the caller: the console by its cookie only, every other one by a token only."""
        return self.is_signed_in and path.startswith(CONSOLE) == (self.session is not None)


async def callers(world: World, issuer: DevIssuer, tenant: UUID, other: UUID) -> list[Caller]:
    """Everybody, in front of `tenant`; `other` is a tenant that some of them belong to."""
    return [
        *[one async for one in _members(world, issuer, tenant)],
        *[one async for one in _strangers(world, issuer, other)],
        *[one async for one in _former(world, issuer, tenant)],
        *_nobodies(issuer),
        *[one async for one in _at_the_console(world, tenant, other)],
    ]


async def link(world: World, issuer: DevIssuer, person: Person) -> str:
    """Link somebody to a subject of the issuer; return the subject."""
    subject = f"subject-{person.id}"
    await world.change(
        "UPDATE users SET oidc_issuer = :issuer, oidc_subject = :subject WHERE id = :id",
        issuer=issuer.url,
        subject=subject,
        id=person.id,
    )
    return subject


async def _members(world: World, issuer: DevIssuer, tenant: UUID) -> AsyncIterator[Caller]:
    for role in Role:
        person = await world.add_member(tenant, role, name=f"{role} of the tenant")
        subject = await link(world, issuer, person)
        yield _signed_in(f"{role}, service token", person, role=role)
        yield _signed_in(f"{role}, issuer", person, bearer(issuer.token(subject)), role=role)


async def _strangers(world: World, issuer: DevIssuer, other: UUID) -> AsyncIterator[Caller]:
    yield _signed_in("member of nothing", await world.add_person("Nowhere"))
    elsewhere = await world.add_member(other, Role.OWNER, "Elsewhere")
    subject = await link(world, issuer, elsewhere)
    yield _signed_in("owner of another tenant", elsewhere)
    yield _signed_in("owner of another tenant, issuer", elsewhere, bearer(issuer.token(subject)))
    yield _signed_in("owner of another tenant, at one that is not there", elsewhere, tenant=uuid4())


async def _former(world: World, issuer: DevIssuer, tenant: UUID) -> AsyncIterator[Caller]:
    removed = await world.add_member(tenant, Role.OWNER, "Removed")
    await world.change("DELETE FROM memberships WHERE user_id = :id", id=removed.id)
    yield _signed_in("removed owner", removed)
    disabled = await world.add_member(tenant, Role.OWNER, "Disabled")
    subject = await link(world, issuer, disabled)
    await world.change("UPDATE users SET disabled_at = clock_timestamp() WHERE id = :id", id=disabled.id)
    yield Caller("disabled owner, service token", disabled.headers)
    yield Caller("disabled owner, issuer", bearer(issuer.token(subject)))
    linked = await world.add_member(tenant, Role.OWNER, "Linked")
    subject = await link(world, issuer, linked)
    for relation, token in _bad_tokens(issuer, subject):
        yield Caller(relation, bearer(token))


async def _at_the_console(world: World, tenant: UUID, other: UUID) -> AsyncIterator[Caller]:
    for role in Role:
        person = await world.add_member(tenant, role, name=f"{role} at the console")
        yield _in_session(f"{role}, session", person, await session_of(world, person.id), role=role)
    nowhere = await world.add_person("Nowhere")
    yield _in_session("member of nothing, session", nowhere, await session_of(world, nowhere.id))
    elsewhere = await world.add_member(other, Role.OWNER, "Elsewhere")
    yield _in_session("owner of another tenant, session", elsewhere, await session_of(world, elsewhere.id))
    gone = await world.add_member(tenant, Role.OWNER, "Disabled")
    dead = {
        "disabled owner, session": await session_of(world, gone.id),
        "idle session": await session_of(world, elsewhere.id, idle=timedelta(hours=2)),
        "old session": await session_of(world, elsewhere.id, left=timedelta(seconds=-1)),
        "session of nobody": new_token(),
        "service token as a session": elsewhere.token,
    }
    await world.change("UPDATE users SET disabled_at = clock_timestamp() WHERE id = :id", id=gone.id)
    for relation, token in dead.items():
        yield Caller(relation, cookie(token), session=token)


def _in_session(relation: str, person: Person, token: str, *, role: Role | None = None) -> Caller:
    return Caller(relation, cookie(token), is_signed_in=True, role=role, user_id=person.id, session=token)


def _signed_in(
    relation: str,
    person: Person,
    headers: dict[str, str] | None = None,
    *,
    role: Role | None = None,
    tenant: UUID | None = None,
) -> Caller:
    return Caller(relation, headers or person.headers, is_signed_in=True, role=role, user_id=person.id, tenant=tenant)


def _bad_tokens(issuer: DevIssuer, subject: str) -> Iterator[tuple[str, str]]:
    """Tokens of an owner of the tenant, each with one thing wrong."""
    now = int(time.time())
    good, stranger = issuer.token(subject), DevIssuer(issuer.url, issuer.audience)
    kid = issuer.keys()["keys"][-1]["kid"]
    yield "expired", issuer.token(subject, iat=now - 4000, nbf=now - 4000, exp=now - 400)
    yield "not yet valid", issuer.token(subject, nbf=now + 400)
    yield "issued in the future", issuer.token(subject, iat=now + 400)
    yield "older than allowed", issuer.token(subject, iat=now - 3 * DAY, nbf=now - 3 * DAY, exp=now + DAY)
    yield "without an end", issuer.token(subject, exp=None)
    yield "another issuer", issuer.token(subject, iss="https://issuer.example")
    yield "no issuer", issuer.token(subject, iss=None)
    yield "another audience", issuer.token(subject, aud="somebody-else")
    yield "no audience", issuer.token(subject, aud=None)
    yield "algorithm none", unsigned(good)
    yield "algorithm none, in capitals", unsigned(good, "NONE")
    yield "signed with the public key as a secret", signed_with_what_everybody_knows(good, issuer.keys())
    yield "signed by an unknown key", stranger.token(subject)
    yield "signed by an unknown key under a known name", altered(stranger.token(subject), {"kid": kid})
    yield "altered", altered(good, jti="another")
    yield "subject of nobody", issuer.token("nobody")
    yield "another algorithm of the list", altered(good, {"alg": "RS256"})


def _nobodies(issuer: DevIssuer) -> Iterator[Caller]:
    yield Caller("without a token")
    yield Caller("another scheme", {"Authorization": "Basic eDp5"})
    yield Caller("a token of nobody", bearer("nobody"))
    yield Caller("three parts of nothing", bearer("a.b.c"))
    yield Caller("an endless token", bearer("x" * 20_000))
    yield Caller("a subject without a name", bearer(issuer.token("")))
