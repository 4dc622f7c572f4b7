from uuid import UUID

import httpx

from tests.support.builders import Person


def tenant_id(tenant: str) -> UUID:
    return UUID(tenant.rpartition("/")[2])


async def test_a_start_answers_201_with_the_run_and_the_second_one_joins_it_with_200(
    http: httpx.AsyncClient, tenant: str, manager: Person
) -> None:
    body = {"resource": "policy", "action": "sync"}
    first = await http.post(f"{tenant}/bulk-operation-runs", json=body, headers=manager.headers)
    second = await http.post(f"{tenant}/bulk-operation-runs", json=body, headers=manager.headers)

    assert (first.status_code, second.status_code) == (201, 200), first.text
    assert first.json()["id"] == second.json()["id"]
    assert first.headers["location"] == f"{tenant}/bulk-operation-runs/{first.json()['id']}"
    assert (await http.get(first.headers["location"], headers=manager.headers)).json()["status"] == "queued"
