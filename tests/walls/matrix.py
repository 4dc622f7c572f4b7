"""Each route, asked by everybody: what the running dispatcher says, against what the table of capabilities says.

`prove` asks and counts. A cell is one request of one caller. What a cell should say follows from the route's need and
the caller's role alone; `cases.py` only knows how to ask.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

import httpx
from fastapi import FastAPI

from services.dispatcher.console.headers import PREFIX as CONSOLE
from services.dispatcher.needs import Guarded, MemberNeed, OpenNeed, guarded_routes
from services.dispatcher.problems import MEDIA_TYPE
from shared.domain.capabilities import Role
from tests.support.builders import Person, World
from tests.support.console import cookie, from_page, signed
from tests.walls.callers import Caller
from tests.walls.cases import Case
from tests.walls.stage import Stage

UNAUTHENTICATED = frozenset({401})
UNKNOWN = frozenset({404})
FORBIDDEN = frozenset({403})
_AT_ONCE = 8  # requests; fewer than the dispatcher has database connections
_TENANT, _OWN = "/v1/tenants/{tenant}", "/v1/notifications"
_CONSOLE_TENANT = f"{CONSOLE}/tenants/{{tenant}}"


@dataclass
class Counts:
    """What was asked."""

    routes: int = 0
    roles: int = 0
    cells: int = 0
    wrong: list[str] = field(default_factory=list)


def uncovered(app: FastAPI, cases: Iterable[Case]) -> list[str]:
    """Name the routes, and the capabilities of routes, that no case asks for."""
    asked = {(case.operation_id, case.capability) for case in cases}
    return [
        f"{route.operation_id} ({capability})"
        for route in guarded_routes(app)
        for capability in route.need.capabilities or (None,)
        if (route.operation_id, capability) not in asked
    ]


def expected(route: Guarded, case: Case, caller: Caller) -> frozenset[int]:
    """Say what the answer must be."""
    if isinstance(route.need, OpenNeed):
        return case.allowed
    if not caller.is_signed_in_at(route.path):
        return UNAUTHENTICATED
    if not isinstance(route.need, MemberNeed):
        return UNKNOWN if case.is_own and caller.role is None else case.allowed
    if caller.role is None:
        return UNKNOWN
    assert case.capability is not None
    return case.allowed if caller.role.may(case.capability) else FORBIDDEN


async def prove(
    app: FastAPI, http: httpx.AsyncClient, world: World, stage: Stage, callers: Sequence[Caller], cases: Sequence[Case]
) -> Counts:
    """Ask every case of everybody; whoever is refused goes first, and must have changed nothing."""
    routes = {route.operation_id: route for route in guarded_routes(app)}
    counts = Counts(len(routes), len(Role))
    for case in cases:
        route = routes[case.operation_id]
        refused = [one for one in callers if expected(route, case, one) != case.allowed]
        before = await _rows(world)
        refusals = []
        for few in (refused[start : start + _AT_ONCE] for start in range(0, len(refused), _AT_ONCE)):
            refusals += await asyncio.gather(*(_ask(http, stage, route, case, one, counts) for one in few))
        _same_for_all(refusals, case, counts)
        if await _rows(world) != before:
            counts.wrong.append(f"{case}: a refused request left something behind")
        for one in callers:
            if one not in refused:
                await _ask(http, stage, route, case, one, counts)
    return counts


async def prove_foreign(
    app: FastAPI, http: httpx.AsyncClient, stage: Stage, owner: Person, session: str, other: UUID, cases: Sequence[Case]
) -> Counts:
    """Let the owner of the tenant `other`, by token and by session, name, in the own path, what is another tenant's."""
    routes = {route.operation_id: route for route in guarded_routes(app)}
    counts = Counts(len(routes), 1)
    by_token = Caller(
        "owner, of what is another tenant's",
        owner.headers,
        is_signed_in=True,
        role=Role.OWNER,
        user_id=owner.id,
        tenant=other,
    )
    at_the_console = replace(by_token, headers=cookie(session), session=session)
    for case in cases:
        if case.foreign is not None:
            route = routes[case.operation_id]
            caller = at_the_console if route.path.startswith(CONSOLE) else by_token
            await _ask(http, stage, route, case, caller, counts, case.foreign)
    return counts


async def _ask(
    http: httpx.AsyncClient,
    stage: Stage,
    route: Guarded,
    case: Case,
    caller: Caller,
    counts: Counts,
    wanted: frozenset[int] | None = None,
) -> httpx.Response:
    prefix, is_console = "", route.path.startswith(CONSOLE)
    if isinstance(route.need, MemberNeed):
        prefix = (_CONSOLE_TENANT if is_console else _TENANT).format(tenant=caller.tenant or stage.tenant)
    elif route.path.startswith(_OWN):
        prefix = _OWN
    answer = await http.request(
        route.method,
        prefix + case.path(stage, caller.user_id if caller.user_id in stage.notifications else None),
        headers={**caller.headers, **(from_page("http://dispatcher") if is_console else {})},
        json=case.body(stage) if case.body else None,
        data=signed(caller.session or "", **case.form(stage)) if case.form else None,
        content=case.content,
    )
    counts.cells += 1
    wanted = expected(route, case, caller) if wanted is None else wanted
    if answer.status_code not in wanted:
        counts.wrong.append(f"{case}: {caller} got {answer.status_code} instead of {sorted(wanted)}")
    if answer.status_code == httpx.codes.UNAUTHORIZED and answer.headers.get("www-authenticate") != (
        "Session" if is_console else "Bearer"
    ):
        counts.wrong.append(f"{case}: {caller} is told more, or less, than how to sign in")
    return answer


def _same_for_all(refusals: Iterable[httpx.Response], case: Case, counts: Counts) -> None:
    """Two callers who are refused with one status must be told the same, but for the path."""
    told: dict[int, set[str]] = {}
    for answer in refusals:
        kind = answer.headers.get("content-type", "")
        if kind == MEDIA_TYPE:
            said = str({key: value for key, value in answer.json().items() if key != "instance"})
        elif kind.startswith("text/html"):
            said = answer.text.partition("<main")[2]  # above it stands who is signed in
        else:
            continue  # no refusal: it is counted as wrong already
        told.setdefault(answer.status_code, set()).add(said)
    for status, texts in told.items():
        if len(texts) > 1:
            counts.wrong.append(f"{case}: refusals with {status} differ")


async def _rows(world: World) -> dict[str, int]:
    """Count what a request may write; not the outbox, which is emptied meanwhile, nor audits of refusals."""
    names = ("restore_runs", "bulk_operation_runs", "inbox", "run_watchers", "backup_sets", "pauses")
    counted = {name: (await world.rows(f"SELECT count(*) AS n FROM {name}"))[0]["n"] for name in names}  # noqa: S608  our own names
    asked = "SELECT count(*) AS n FROM bulk_operation_runs WHERE abort_requested_at IS NOT NULL"
    return {**counted, "aborts": (await world.rows(asked))[0]["n"]}
