"""What a run left undone is retried by a child run: only that, and one at a time."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from shared.domain.errors import PermanentError, RunFatalError, SafeCode
from shared.domain.operations import Role
from shared.domain.runs import Counts, RunStatus, RunType
from shared.ports import Item, ItemResult, RunRecord
from tests.support.builders import Person, World
from tests.support.engine_lab import Lab, ToyWork, captured


@pytest.fixture
async def lab(world: World, tenant: str) -> AsyncIterator[Lab]:
    """A worker's side of the same tenant."""
    opened = Lab(world.engine)
    opened.tenant_id = UUID(tenant.rpartition("/")[2])
    yield opened
    await opened.close()


async def odd_ones_fail(item: Item) -> ItemResult:
    if item.ordinal % 2:
        raise PermanentError(SafeCode.GRAPH_BAD_REQUEST)
    return await captured(item)


async def a_partial_run(lab: Lab) -> RunRecord:
    """Six items, three of which failed."""
    run = await lab.add_run()
    await lab.wake(lab.worker(ToyWork(6, odd_ones_fail)), run)
    return await lab.get(run)


async def retry(
    http: httpx.AsyncClient, person: Person, tenant: str, run_id: object, key: str = "", **body: Any
) -> httpx.Response:
    headers = person.headers | ({"Idempotency-Key": key} if key else {})
    return await http.post(f"{tenant}/bulk-operation-runs/{run_id}/retry-failed", json=body, headers=headers)


async def child_of(lab: Lab, answer: httpx.Response) -> RunRecord:
    async with lab.uow.begin(lab.tenant_id) as tx:
        child = await tx.runs.get(RunType.BULK, UUID(answer.json()["id"]))
    assert child is not None
    return child


async def test_a_retry_works_the_failed_items_and_no_others(
    http: httpx.AsyncClient, lab: Lab, tenant: str, manager: Person
) -> None:
    parent = await a_partial_run(lab)

    answer = await retry(http, manager, tenant, parent.id)

    assert (answer.status_code, answer.json()["retry_of"]) == (201, str(parent.id))
    child, work = await child_of(lab, answer), ToyWork(6)
    await lab.wake(lab.worker(work), child)
    ended = await lab.get(child)
    assert (ended.status, ended.counts) == (RunStatus.SUCCEEDED, Counts(3, 3, 0, 0))
    assert sorted(work.attempts) == [1, 3, 5]
    assert await lab.get(parent) == parent


async def test_while_a_retry_is_active_the_same_one_is_joined_and_afterwards_nothing_is_left(
    http: httpx.AsyncClient, lab: Lab, tenant: str, manager: Person
) -> None:
    parent = await a_partial_run(lab)

    first, second = [await retry(http, manager, tenant, parent.id) for _ in range(2)]

    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    child = await child_of(lab, first)
    await lab.wake(lab.worker(ToyWork(6)), child)
    third = await retry(http, manager, tenant, parent.id)
    assert (third.status_code, third.json()["code"]) == (422, "selection.empty")


async def test_a_repeated_request_gets_its_own_run_even_after_that_ended(
    http: httpx.AsyncClient, lab: Lab, tenant: str, manager: Person
) -> None:
    parent = await a_partial_run(lab)
    first = await retry(http, manager, tenant, parent.id, key="k1")
    await lab.wake(lab.worker(ToyWork(6, odd_ones_fail)), await child_of(lab, first))

    again = await retry(http, manager, tenant, parent.id, key="k1")
    other = await retry(http, manager, tenant, parent.id, key="k1", include_unknown=True)
    new = await retry(http, manager, tenant, parent.id, key="k2")

    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert (other.status_code, other.json()["code"]) == (422, "request.idempotency_conflict")
    assert new.status_code == 201
    assert new.json()["id"] != first.json()["id"]


async def test_what_an_early_end_cut_off_is_retried_too(
    http: httpx.AsyncClient, lab: Lab, tenant: str, manager: Person
) -> None:
    async def sign_in_revoked(item: Item) -> ItemResult:
        if item.ordinal == 2:
            raise RunFatalError(SafeCode.AUTH_TOKEN_INVALID)
        return await captured(item)

    parent = await lab.add_run()
    await lab.wake(lab.worker(ToyWork(6, sign_in_revoked), concurrency=1), parent)

    child = await child_of(lab, await retry(http, manager, tenant, parent.id))
    work = ToyWork(6)
    await lab.wake(lab.worker(work), child)

    assert sorted(work.attempts) == [2, 3, 4, 5]
    assert (await lab.get(child)).status is RunStatus.SUCCEEDED


async def test_a_run_that_ended_before_it_had_items_is_run_whole(
    http: httpx.AsyncClient, lab: Lab, tenant: str, manager: Person
) -> None:
    parent = await lab.add_run()
    await lab.rows(
        "UPDATE bulk_operation_runs SET status = 'failed', finished_at = now(), error_code = 'run.deadline_exceeded'"
        " WHERE id = :id RETURNING 1",
        id=parent.id,
    )

    child = await child_of(lab, await retry(http, manager, tenant, parent.id))
    await lab.wake(lab.worker(ToyWork(4)), child)

    assert (await lab.get(child)).counts == Counts(4, 4, 0, 0)


async def test_a_backup_s_retry_captures_into_the_same_set(
    http: httpx.AsyncClient, lab: Lab, world: World, tenant: str, manager: Person
) -> None:
    parent = await a_partial_run(lab)
    await lab.rows(
        "UPDATE bulk_operation_runs SET resource = 'backup_set', action = 'create', operation = 'backup_set.create'"
        " WHERE id = :id RETURNING 1",
        id=parent.id,
    )

    answer = (await retry(http, manager, tenant, parent.id)).json()

    assert (answer["operation"], answer["target_id"]) == ("backup_set.add_policies", str(parent.id))


async def test_what_cannot_be_retried_is_refused(
    http: httpx.AsyncClient, lab: Lab, world: World, tenant: str, manager: Person
) -> None:
    active = await lab.add_run()
    parent = await a_partial_run(lab)
    reader = await world.add_member(lab.tenant_id, Role.READONLY)
    elsewhere = await world.add_member(await world.add_tenant(), Role.OWNER)

    answers = [
        await retry(http, manager, tenant, active.id),
        await retry(http, manager, tenant, UUID(int=1)),
        await retry(http, reader, tenant, parent.id),
        await retry(http, elsewhere, tenant, parent.id),
        await retry(http, manager, tenant, parent.id, everything=True),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (409, "run.still_active"),
        (404, "resource.not_found"),
        (403, "authz.missing_capability"),
        (404, "resource.not_found"),
        (422, "request.invalid"),
    ]
    assert await world.rows("SELECT 1 FROM bulk_operation_runs WHERE retry_of IS NOT NULL") == []
