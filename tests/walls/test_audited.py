"""Who changes something, or is refused it, is in the trail: every route that is no read, and every command."""

import re
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.audit_trail import verify_database
from services.dispatcher.commands import carry_out
from services.dispatcher.console.headers import PREFIX as CONSOLE
from services.dispatcher.handlers import Door
from services.dispatcher.metrics import Metrics
from services.dispatcher.needs import Guarded, MemberNeed, guarded_routes
from services.dispatcher.rates import Rates
from services.dispatcher.refusals import SINGLY, SINGLY_OF_THE_HOUSE, Refusals
from services.dispatcher.signatures import Signatures
from services.dispatcher.starts import Starts
from services.dispatcher.subscribers import Command
from shared.contracts.commands import AbortRun, StartBulkOperationRun, StartRestoreRun
from shared.domain.audit_chain import HOUSE
from shared.domain.capabilities import Role
from shared.domain.errors import PoisonMessage, SafeCode
from shared.domain.runs import RunType
from shared.domain.upstreams import SignatureRules
from shared.persistence.audit_trail import SqlAuditTrail
from shared.persistence.unit_of_work import SqlUnitOfWork
from tests.support.builders import Person, World
from tests.support.console import from_page
from tests.support.signing import Redrives, Registry, an_envelope
from tests.walls.cases import Case, cases
from tests.walls.stage import Stage, build, notify

READS = {"GET", "HEAD"}
NO_ID = uuid4()


@dataclass
class Trail:
    """The audit rows that came since one looked last."""

    world: World
    seen: int = 0

    async def news(self) -> list[tuple[UUID, str, str | None]]:
        """Return tenant, outcome and reason of each new row."""
        rows = await self.world.rows(
            "SELECT tenant_id, outcome, context->>'reason' AS reason FROM audit_logs ORDER BY id OFFSET :seen",
            seen=self.seen,
        )
        self.seen += len(rows)
        return [(row["tenant_id"], row["outcome"], row["reason"]) for row in rows]


def changing(app: FastAPI, *, console: bool = False) -> dict[str, Guarded]:
    routes = (route for route in guarded_routes(app) if route.path.startswith(CONSOLE) == console)
    return {route.operation_id: route for route in routes if route.method not in READS}


def a_case_of_each(app: FastAPI) -> list[Case]:
    wanted, found = changing(app), dict[str, Case]()
    for case in cases():
        if case.operation_id in wanted:
            found.setdefault(case.operation_id, case)
    assert found.keys() == wanted.keys(), "a route without a case could not be looked at"
    return list(found.values())


@pytest.fixture
async def stage(world: World) -> Stage:
    return await build(world, await world.add_tenant())


@dataclass
class Asking:
    """Asks a route as somebody, and tells what the trail says of it."""

    http: httpx.AsyncClient
    routes: dict[str, Guarded]
    stage: Stage
    trail: Trail

    async def ask(
        self, case: Case, person: Person | None, *, path: str | None = None, content: bytes | None = None
    ) -> tuple[httpx.Response, list[tuple[UUID, str, str | None]]]:
        route = self.routes[case.operation_id]
        in_tenant = isinstance(route.need, MemberNeed)
        prefix = f"/v1/tenants/{self.stage.tenant}" if in_tenant else "/v1/notifications"
        who = person.id if person and person.id in self.stage.notifications else None
        body = case.body(self.stage) if case.body and content is None else None
        answer = await self.http.request(
            route.method,
            prefix + (path or case.path(self.stage, who)),
            headers=person.headers if person else {},
            json=body,
            content=case.content if content is None else content,
        )
        return answer, await self.trail.news()


@pytest.fixture
def asking(app: FastAPI, http: httpx.AsyncClient, stage: Stage, world: World) -> Asking:
    return Asking(http, changing(app), stage, Trail(world))


async def test_every_route_that_changes_something_leaves_a_line_when_it_did(
    app: FastAPI, world: World, stage: Stage, asking: Asking
) -> None:
    owner = await world.add_member(stage.tenant, Role.OWNER)
    await notify(world, stage, owner.id)
    missing = []
    for case in a_case_of_each(app):
        for attempt in ("first", "again"):
            answer, lines = await asking.ask(case, owner)
            wanted = "blocked" if answer.is_error else ("success", "info")
            if len(lines) != 1 or lines[0][1] not in wanted:
                missing.append(f"{case}, {attempt}: {answer.status_code} {lines}")
    assert missing == []


async def test_every_route_that_changes_something_leaves_a_line_when_it_was_refused(
    app: FastAPI, world: World, stage: Stage, asking: Asking
) -> None:
    """401 and strangers' 404 in the house's trail, what members are told in their tenant's."""
    reader = await world.add_member(stage.tenant, Role.READONLY)
    owner = await world.add_member(stage.tenant, Role.OWNER)
    stranger = await world.add_person()
    wrong = []
    for case in a_case_of_each(app):
        in_tenant = isinstance(asking.routes[case.operation_id].need, MemberNeed)
        nobody = [(None, 401, HOUSE, SafeCode.AUTHZ_UNAUTHENTICATED)]
        of_members = [
            (stranger, 404, HOUSE, SafeCode.RESOURCE_NOT_FOUND),
            (reader, 403, stage.tenant, SafeCode.AUTHZ_MISSING_CAPABILITY),
        ]
        for person, status, chain, code in nobody + (of_members if in_tenant else []):
            answer, lines = await asking.ask(case, person)
            if (answer.status_code, lines) != (status, [(chain, "blocked", code.value)]):
                wrong.append(f"{case}: {answer.status_code} {lines}")
        if case.body is not None:
            answer, lines = await asking.ask(case, owner, content=b'{"surely": "unknown"}')
            if (answer.status_code, lines) != (422, [(stage.tenant, "blocked", SafeCode.REQUEST_INVALID.value)]):
                wrong.append(f"{case}, bad body: {answer.status_code} {lines}")
    assert wrong == []


async def test_every_form_of_the_console_that_is_refused_leaves_a_line(
    app: FastAPI, http: httpx.AsyncClient, world: World
) -> None:
    """What a form does is done by the use cases of the routes above."""
    trail, wrong = Trail(world), []
    forms = changing(app, console=True)
    for route in forms.values():
        path = re.sub(r"\{\w+\}", str(NO_ID), route.path)
        answer = await http.post(path, data={"link": "x"}, headers=from_page("http://dispatcher"))
        lines = await trail.news()
        if not answer.is_error or [line[:2] for line in lines] != [(HOUSE, "blocked")]:
            wrong.append(f"{route.operation_id}: {answer.status_code} {lines}")
    assert wrong == []
    assert len(forms) > 8


async def test_what_is_not_there_and_what_is_over_are_refusals_with_a_line(
    app: FastAPI, world: World, stage: Stage, asking: Asking
) -> None:
    owner = await world.add_member(stage.tenant, Role.OWNER)
    of_one = {case.operation_id: case for case in a_case_of_each(app)}
    wrong = []
    for operation_id in ("abortRestoreRun", "retryFailedOfBulkOperationRun", "undoRestoreRun"):
        path = f"/{of_one[operation_id].path(stage, None).split('/')[1]}/{uuid4()}/"
        path += of_one[operation_id].path(stage, None).rpartition("/")[2]
        answer, lines = await asking.ask(of_one[operation_id], owner, path=path)
        if (answer.status_code, lines) != (404, [(stage.tenant, "blocked", "resource.not_found")]):
            wrong.append(f"{operation_id}: {answer.status_code} {lines}")
    over = f"/restore-runs/{stage.ended['restore.preview']}/abort"
    answer, lines = await asking.ask(of_one["abortRestoreRun"], owner, path=over)
    assert (answer.status_code, lines) == (409, [(stage.tenant, "blocked", "run.not_active")])
    assert wrong == []


async def test_reading_leaves_no_line(http: httpx.AsyncClient, world: World, stage: Stage) -> None:
    owner, stranger = await world.add_member(stage.tenant, Role.OWNER), await world.add_person()

    for person in (owner, stranger):
        await http.get(f"/v1/tenants/{stage.tenant}/runs", headers=person.headers)

    assert await Trail(world).news() == []


async def test_a_stranger_who_asks_for_ever_fills_nothing(
    app: FastAPI, http: httpx.AsyncClient, world: World, stage: Stage, engine: AsyncEngine
) -> None:
    """The first requests have a line each, the others a number; and nothing of it is in the tenant's trail."""
    stranger, member = await world.add_person(), await world.add_member(stage.tenant, Role.READONLY)
    for person in (stranger, member, None):
        headers = person.headers if person else {}
        for _ in range(50):
            await http.post(f"/v1/tenants/{stage.tenant}/pause", json={}, headers=headers)

    await app.state.room.refusals.flush(everything=True)

    lines = await world.rows(
        "SELECT tenant_id, actor_id, coalesce((context->>'count')::int, 1) AS n FROM audit_logs"
        " WHERE action = 'tenant.pause_refused'"
    )
    of_each = Counter((row["tenant_id"], row["actor_id"]) for row in lines)
    requests = Counter[tuple[UUID, UUID | None]]()
    for row in lines:
        requests[row["tenant_id"], row["actor_id"]] += row["n"]
    assert of_each == {
        (HOUSE, stranger.id): SINGLY_OF_THE_HOUSE + 1,
        (HOUSE, None): SINGLY_OF_THE_HOUSE + 1,
        (stage.tenant, member.id): SINGLY + 1,
    }
    assert set(requests.values()) == {50}
    assert (await verify_database(SqlAuditTrail(engine), kept={})).findings == []


COMMANDS: dict[type[Command], dict[str, object]] = {
    StartBulkOperationRun: {"resource": "policy", "action": "sync"},
    StartRestoreRun: {},
    AbortRun: {"run_type": RunType.RESTORE},
}


def a_command(of: type[Command], stage: Stage, **changes: object) -> Command:
    about = dict(COMMANDS[of])
    if of is StartRestoreRun:
        about["backup_set_id"] = stage.backup_set
    if of is AbortRun:
        about["run_id"] = stage.active["restore.preview"]
    return of.model_validate({"tenant_id": stage.tenant, **about, **changes})


@pytest.mark.parametrize("of", COMMANDS, ids=lambda of: of.__name__)
async def test_every_command_leaves_a_line_when_it_was_carried_out_and_when_it_was_refused(
    world: World, stage: Stage, engine: AsyncEngine, of: type[Command]
) -> None:
    uow, trail = SqlUnitOfWork(engine, service="test"), Trail(world)
    starts, refusals = Starts(uow), Refusals(uow)
    reader, stranger = await world.add_member(stage.tenant, Role.READONLY), await world.add_person()
    resting = await world.add_tenant(status="suspended")

    async def told(**changes: object) -> tuple[str | None, list[tuple[UUID, str, str | None]]]:
        command = a_command(of, stage, **changes)
        parts = {"uow": uow, "starts": starts, "metrics": Metrics(), "refusals": refusals, "rates": Rates()}
        code = None
        try:
            await carry_out(
                command,
                an_envelope(command, {}, message_id=str(uuid4()), user_id="upstream-1"),
                signatures=Signatures(
                    Registry(), Redrives(), SignatureRules(required=False, max_age=timedelta(1), tolerance=timedelta(1))
                ),
                **parts,  # type: ignore[arg-type]
            )
        except PoisonMessage as error:
            code = error.code.value
        return code, await trail.news()

    code, [(chain, outcome, _)] = await told()
    assert (code, chain, outcome) == (None, stage.tenant, "success")
    for changes, reason, where in (
        ({"initiator_id": reader.id}, "authz.missing_capability", stage.tenant),
        ({"initiator_id": stranger.id}, "authz.initiator_not_entitled", stage.tenant),
        ({"tenant_id": NO_ID}, "resource.not_found", HOUSE),
    ):
        assert await told(**changes) == (reason, [(where, "blocked", reason)])
    if of is not AbortRun:  # there is no run in it
        resting_code, lines = await told(tenant_id=resting)
        assert (resting_code, lines[0][:2]) == ("authz.tenant_not_operable", (resting, "blocked"))
    await starts.aclose()


def test_no_command_is_left_out() -> None:
    assert set(COMMANDS) == set(Command.__args__)  # type: ignore[attr-defined]  # a union
    assert Door.COMMANDS.value == "dispatcher.commands"
