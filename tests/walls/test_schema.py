"""The whole OpenAPI document, filled in by a program that knows another tenant's ids: no leak, and no defect of ours.

Schemathesis makes the requests, good and bad ones, the same in each run; ids in them are then replaced by ids of a
tenant that the caller does not belong to. What is that tenant's has a canary in its texts.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode

from services.dispatcher.app import create_app
from services.dispatcher.openapi import document
from shared.domain.operations import Role
from tests.support.archives import an_archive
from tests.support.builders import Person, World
from tests.walls.counting import Counted
from tests.walls.stage import Stage, build, notify

CANARY = "canary of the other tenant"
EXAMPLES = 10  # of each operation, good ones and as many bad ones
AT_ONCE = 8
SEED = 20_260_302
_TEXTS = {
    "tenants": ("name",),
    "policies": ("display_name",),
    "backup_sets": ("name", "created_by"),
    "backup_items": ("display_name",),
    "restore_runs": ("requested_by",),
    "bulk_operation_runs": ("requested_by",),
}


@dataclass(frozen=True)
class Made:
    """A request as schemathesis made it, with foreign ids in it."""

    operation_id: str
    documented: frozenset[str]
    request: dict[str, Any]


schemathesis.openapi.media_type("application/zip", st.binary(max_size=200) | st.just(an_archive()))


def generated(operation: Any, mode: GenerationMode) -> list[Any]:
    """Have schemathesis make requests of an operation, the same in each run."""
    cases: list[Any] = []

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def make(case: Any) -> None:
        cases.append(case)

    try:
        make()
    except (schemathesis.errors.SchemathesisError, Unsatisfiable):
        assert mode is GenerationMode.NEGATIVE  # an operation without input has no bad one
    return cases


class Foreign:
    """Puts ids of the other tenant where requests have some."""

    def __init__(self, ids: Sequence[UUID], tenants: Sequence[UUID]) -> None:
        self._ids = ids
        self._tenants = tenants
        self._chance = random.Random(SEED)  # noqa: S311  the same in each run

    def put_into(self, cases: Iterable[tuple[Any, Sequence[Any]]]) -> list[Made]:
        """Make requests of the cases of each operation."""
        made = []
        for operation, several in cases:
            definition = operation.definition.raw
            for case in several:
                for name, value in case.path_parameters.items():
                    case.path_parameters[name] = self._tenant() if name == "tenant" else self._id_or(value)
                case.body = self._replaced(case.body)
                request = case.as_transport_kwargs(base_url="http://dispatcher")
                made.append(Made(definition["operationId"], frozenset(definition["responses"]), request))
        return made

    def _tenant(self) -> str:
        return str(self._chance.choice(self._tenants))

    def _id_or(self, value: object) -> str:
        return str(self._chance.choice([*self._ids, *self._ids, uuid4(), value]))

    def _replaced(self, value: Any) -> Any:
        match value:
            case dict():
                return {key: self._replaced(inner) for key, inner in value.items()}
            case list():
                return [self._replaced(inner) for inner in value]
            case str() if is_id(value):
                return self._id_or(value)
            case _:
                return value


def is_id(value: str) -> bool:
    try:
        return bool(UUID(value))
    except ValueError:
        return False


async def mark(world: World, tenant: UUID) -> None:
    """Write the canary into what is the tenant's."""
    for table, columns in _TEXTS.items():
        texts = ", ".join(f"{column} = :canary" for column in columns)
        key = "id" if table == "tenants" else "tenant_id"
        await world.change(f"UPDATE {table} SET {texts} WHERE {key} = :tenant", canary=CANARY, tenant=tenant)  # noqa: S608  our own names


def ids_of(stage: Stage) -> list[UUID]:
    """Everything of the tenant that has an id."""
    runs = (*stage.active.values(), *stage.ended.values())
    return [stage.backup_set, *stage.backup_items, *stage.policies, stage.preview, *runs, *stage.notifications.values()]


async def asked(http: httpx.AsyncClient, one: Made, person: Person) -> httpx.Response:
    request = {
        key: value for key, value in one.request.items() if key in ("method", "url", "params", "json", "headers")
    }
    if (content := one.request.get("data")) is not None:
        request["content"] = content if isinstance(content, bytes | str) else str(content)
    # What is no header at all, a client would not send: it is the server's library that refuses it.
    given = {key: value for key, value in (request.get("headers") or {}).items() if sendable(key, str(value))}
    request["headers"] = given | person.headers
    return await http.request(**request)


def sendable(*texts: str) -> bool:
    return all(text.isascii() and text.isprintable() for text in texts)


async def stands(world: World, tenant: UUID) -> dict[str, object]:
    """What the foreign tenant has, to be the same afterwards."""
    tables = [*_TEXTS, "notifications", "pauses", "memberships"]
    found: dict[str, object] = {}
    for table in tables:
        key = "id" if table == "tenants" else "tenant_id"
        rows = await world.rows(f"SELECT * FROM {table} WHERE {key} = :tenant ORDER BY 1, 2", tenant=tenant)  # noqa: S608  our own names
        found[table] = rows
    return found


def leaks(answers: Iterable[tuple[Made, httpx.Response]], foreign: Sequence[UUID]) -> list[str]:
    """Name what says a word of the other tenant's, or an id of its that the request did not name."""
    found = []
    for one, answer in answers:
        told = answer.text + str(answer.headers)
        sent = str(one.request)
        if CANARY in told or any(str(each) in told and str(each) not in sent for each in foreign):
            found.append(f"{one.operation_id}: {answer.status_code}")
    return found


@pytest.fixture
def generated_cases() -> list[tuple[Any, list[Any]]]:
    """Every operation with its requests; made while nothing else runs that would draw from the same chance."""
    operations = [one.ok() for one in schemathesis.openapi.from_dict(document(create_app())).get_all_operations()]
    return [(one, [case for mode in GenerationMode for case in generated(one, mode)]) for one in operations]


@pytest.mark.timeout(180)
async def test_no_request_of_the_document_finds_what_is_another_tenants_nor_a_defect_of_ours(
    generated_cases: list[tuple[Any, list[Any]]],
    app: FastAPI,
    http: httpx.AsyncClient,
    world: World,
    counted: Counted,
) -> None:
    tenant, other = await world.add_tenant(), await world.add_tenant("Fabrikam")
    stage, own = await build(world, tenant), await build(world, other)
    owner, stranger = await world.add_member(tenant, Role.OWNER), await world.add_member(other, Role.OWNER)
    await notify(world, stage, owner.id)
    await notify(world, own, stranger.id)
    await mark(world, tenant)
    foreign, before = [*ids_of(stage), owner.id], await stands(world, tenant)
    requests = Foreign(foreign, [tenant, uuid4(), other, other]).put_into(generated_cases)

    answers = []
    for few in (requests[at : at + AT_ONCE] for at in range(0, len(requests), AT_ONCE)):
        answers += zip(few, await asyncio.gather(*(asked(http, one, stranger) for one in few)), strict=True)

    told = Counter(answer.status_code for _, answer in answers)
    found = leaks(answers, foreign)
    counted(cells=len(requests), leaks=len(found))
    assert found == []
    assert [f"{one.operation_id}: {answer.status_code}" for one, answer in answers if answer.status_code >= 500] == []
    assert await stands(world, tenant) == before
    undocumented = {
        f"{one.operation_id}: {answer.status_code}"
        for one, answer in answers
        if str(answer.status_code) not in one.documented
    }
    assert undocumented == set()
    operations = {one["operationId"] for methods in document(app)["paths"].values() for one in methods.values()}
    assert {one.operation_id for one in requests} == operations
    assert told[200] > 20
    assert told[404] > 50
    assert told[422] > 20


async def test_the_canary_would_be_seen(app: FastAPI, http: httpx.AsyncClient, world: World) -> None:
    """The owner of the marked tenant sees it in every list: a leak would show."""
    tenant = await world.add_tenant()
    stage, owner = await build(world, tenant), await world.add_member(tenant, Role.OWNER)
    await mark(world, tenant)

    for path in ("", "/runs", "/policies", "/backup-sets", f"/backup-sets/{stage.backup_set}/items"):
        answer = await http.get(f"/v1/tenants/{tenant}{path}", headers=owner.headers)
        one = Made("x", frozenset(), {"url": path})
        assert leaks([(one, answer)], ids_of(stage)) == ["x: 200"], path
