"""Lists and details: pages that lose and repeat nothing, and nothing of another tenant."""

import hashlib
import json
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from shared.domain.runs import RunType
from shared.persistence.key_administration import SqlKeyAdministration
from shared.persistence.plan_secrets import protect
from shared.persistence.unit_of_work import SqlUnitOfWork
from tests.support.builders import Person, World, a_new_run
from tests.support.keys import a_vault, session_ring


def tenant_of(path: str) -> UUID:
    return UUID(path.rpartition("/")[2])


async def pages(http: httpx.AsyncClient, path: str, person: Person, **params: str) -> list[list[dict[str, object]]]:
    found, cursor = [], None
    while True:
        wanted = {**params, "limit": "2"} | ({"cursor": cursor} if cursor else {})
        answer = await http.get(path, params=wanted, headers=person.headers)
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["items"])
        cursor = answer.json().get("next")
        if cursor is None:
            return found


@pytest.fixture
async def runs(world: World, tenant: str) -> list[UUID]:
    """Three bulk runs and two previews of the tenant, and one of somebody else; oldest first."""
    uow = SqlUnitOfWork(world.engine, service="test", vault=a_vault(world.engine))
    tenant_id, other = tenant_of(tenant), await world.add_tenant("Fabrikam")
    set_id, _ = await world.add_backup_set(tenant_id)
    restore = {"run_type": RunType.RESTORE, "operation": "restore.preview", "backup_set_id": set_id}
    plans: list[tuple[UUID, dict[str, Any]]] = [
        (tenant_id, {}),
        (tenant_id, restore),
        (other, {}),
        (tenant_id, {}),
        (tenant_id, restore),
    ]
    ids = []
    for owner, changes in plans:
        new = a_new_run(tenant_id=owner, **changes)
        async with uow.begin(owner) as tx:
            await tx.runs.insert(new)
        ids += [new.id] if owner == tenant_id else []
    return ids


async def test_runs_of_both_types_come_newest_first_and_each_once(
    http: httpx.AsyncClient, tenant: str, manager: Person, runs: list[UUID]
) -> None:
    found = await pages(http, f"{tenant}/runs", manager)

    assert [len(page) for page in found] == [2, 2]
    assert [run["id"] for page in found for run in page] == [str(run_id) for run_id in reversed(runs)]


async def test_runs_can_be_filtered_by_type_status_and_operation(
    http: httpx.AsyncClient, tenant: str, manager: Person, runs: list[UUID]
) -> None:
    async def count(**params: str) -> int:
        return sum(len(page) for page in await pages(http, f"{tenant}/runs", manager, **params))

    assert await count(kind="restore_run") == 2
    assert await count(operation="policy.sync") == 2
    assert (await count(status="queued"), await count(status="failed")) == (4, 0)


async def test_items_and_the_preview_are_read_page_by_page_with_nulls_in_patches_kept(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World, runs: list[UUID]
) -> None:
    preview = runs[1]
    patch = [{"op": "replace", "path": "/description", "value": None}]
    change = {"setting": "Description", "path": "/description", "kind": "removed", "before": "Old"}
    said = {"changes": [change], "changes_left_out": 3}
    for ordinal, action in enumerate(["create", "update", "update"]):
        await world.change(
            "INSERT INTO restore_run_items (tenant_id, run_id, ordinal, item_id, label, policy_type, state, outcome,"
            " plan) VALUES (:tenant, :run, :ordinal, :item, 'p', 't', 'succeeded', 'planned', CAST(:plan AS jsonb))",
            tenant=tenant_of(tenant),
            run=preview,
            ordinal=ordinal,
            item=uuid4(),
            plan=json.dumps(
                {"action": action, "patch": patch, "warnings": ["masked_secret"], "steps": ["write"], **said}
            ),
        )
    place = f"{tenant}/restore-runs/{preview}"

    items = await pages(http, f"{place}/items", manager, outcome="planned")
    answer = (await http.get(f"{place}/preview", params={"limit": 2}, headers=manager.headers)).json()

    assert [item["ordinal"] for page in items for item in page] == [0, 1, 2]
    assert await pages(http, f"{place}/items", manager, state="failed") == [[]]
    assert answer["actions"] == {"create": 1, "update": 2}
    assert [entry["action"] for entry in answer["items"]] == ["create", "update"]
    assert (answer["items"][0]["patch"], answer["items"][0]["warnings"]) == (patch, ["masked_secret"])
    assert {key: answer["items"][0][key] for key in said} == said
    assert "next" in answer


async def test_an_id_map_is_read_page_by_page_by_members_only(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World, runs: list[UUID]
) -> None:
    for kind, source in (("group", "a"), ("group", "b" * 250), ("deviceConfiguration", "z"), ("group", "B")):
        await world.change(
            "INSERT INTO restore_id_map VALUES (:tenant, :run, :kind, :source, 'own', 'mapped_existing', 'Name')",
            tenant=tenant_of(tenant),
            run=runs[1],
            kind=kind,
            source=source,
        )
    place = f"{tenant}/restore-runs/{runs[1]}/id-map"

    found = await pages(http, place, manager)

    assert [[row["source_id"] for row in page] for page in found] == [["z", "B"], ["a", "b" * 250]]
    stranger = await world.add_person()
    assert (await http.get(place, headers=stranger.headers)).status_code == 404
    assert (await http.get(place.replace(str(runs[1]), str(uuid4())), headers=manager.headers)).status_code == 404


async def test_what_is_stored_is_listed_for_members_and_only_the_tenants_own(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World
) -> None:
    other = await world.add_tenant("Fabrikam")
    mine, items = await world.add_backup_set(tenant_of(tenant), count=3)
    foreign, _ = await world.add_backup_set(other)
    policies = await world.add_policies(tenant_of(tenant), count=3)
    await world.add_policies(other)

    sets = await pages(http, f"{tenant}/backup-sets", manager)
    listed = await pages(http, f"{tenant}/backup-sets/{mine}/items", manager)
    inventory = await pages(http, f"{tenant}/policies", manager)
    one = await http.get(f"{tenant}/backup-sets/{mine}", headers=manager.headers)
    hidden = await http.get(f"{tenant}/backup-sets/{foreign}/items", headers=manager.headers)
    self_told = await http.get(tenant, headers=manager.headers)

    assert [[one["id"] for one in page] for page in sets] == [[str(mine)]]
    assert [item["id"] for page in listed for item in page] == [str(item) for item in items]
    assert [one["id"] for page in inventory for one in page] == [str(policy) for policy in policies]
    assert (one.json()["items"], hidden.status_code) == (3, 404)
    assert self_told.json() == {
        "id": tenant.rpartition("/")[2],
        "name": "Contoso",
        "status": "active",
        "role": "manager",
        "pauses": [],
    }


async def test_an_archive_is_downloaded_whole_and_only_once_it_is_finished(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World, runs: list[UUID]
) -> None:
    run_id, tenant_id = runs[0], tenant_of(tenant)
    place = f"{tenant}/bulk-operation-runs/{run_id}/archive"
    uow = SqlUnitOfWork(world.engine, service="test", vault=a_vault(world.engine))
    async with uow.begin(tenant_id) as tx:
        await tx.archives.begin(run_id)
        await tx.archives.append(run_id, 0, [b"PK", b"rest"])
    early = await http.get(place, headers=manager.headers)
    async with uow.begin(tenant_id) as tx:
        await tx.archives.finish(run_id, name="Büro.zip", sha256=hashlib.sha256(b"PKrest").hexdigest(), size=6)
    whole = await http.get(place, headers=manager.headers)

    assert (early.status_code, whole.status_code, whole.content) == (404, 200, b"PKrest")
    assert "filename*=UTF-8''B%C3%BCro.zip" in whole.headers["content-disposition"]


async def test_of_a_shredded_tenant_it_is_said_that_nothing_can_be_read_any_more(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World, runs: list[UUID]
) -> None:
    tenant_id, (bulk, preview) = tenant_of(tenant), runs[:2]
    uow = SqlUnitOfWork(world.engine, service="test", vault=a_vault(world.engine))
    plan = {"action": "update", "patch": [{"op": "remove", "path": "/description"}]}
    async with uow.begin(tenant_id) as tx:
        await tx.archives.append(bulk, 0, [b"PK"])
        await tx.archives.finish(bulk, name="a.zip", sha256=hashlib.sha256(b"PK").hexdigest(), size=2)
        (sealed,) = await protect(tx.keys, [(bulk, plan)])
    await world.change(
        "INSERT INTO restore_run_items (tenant_id, run_id, ordinal, item_id, label, policy_type, plan)"
        " VALUES (:tenant, :run, 0, :item, 'p', 't', CAST(:plan AS jsonb))",
        tenant=tenant_id,
        run=preview,
        item=bulk,
        plan=json.dumps(sealed),
    )
    await SqlKeyAdministration(world.engine, session_ring(), actor="test").shred(tenant_id)

    gone = [
        await http.get(f"{tenant}/restore-runs/{preview}/preview", headers=manager.headers),
        await http.get(f"{tenant}/bulk-operation-runs/{bulk}/archive", headers=manager.headers),
    ]
    items = await http.get(f"{tenant}/restore-runs/{preview}/items", headers=manager.headers)
    start = {"resource": "policy", "action": "sync"}
    refused = await http.post(f"{tenant}/bulk-operation-runs", json=start, headers=manager.headers)

    assert [(answer.status_code, answer.json()["code"]) for answer in gone] == [(410, "tenant.shredded")] * 2
    assert (items.status_code, refused.json()["code"]) == (200, "authz.tenant_not_operable")


async def test_notifications_are_the_callers_own_with_counts_and_can_be_read_and_archived(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World, runs: list[UUID]
) -> None:
    other = await world.add_member(tenant_of(tenant))
    ids = [uuid4() for _ in range(3)]
    for owner, notification, status in zip(
        (manager, manager, other), ids, ("failed", "succeeded", "failed"), strict=True
    ):
        await world.change(
            "INSERT INTO notifications (tenant_id, id, user_id, run_type, run_id, operation, status, sequence, counts,"
            " interrupts) VALUES (:tenant, :id, :user, 'bulk_operation_run', :run, 'policy.sync', :status, 3,"
            """ '{"total": 1, "processed": 1, "succeeded": 1, "failed": 0, "skipped": 0}', true)""",
            tenant=tenant_of(tenant),
            id=notification,
            user=owner.id,
            run=runs[0],
            status=status,
        )

    async def counts() -> dict[str, int]:
        answer = await http.get("/v1/notifications", headers=manager.headers)
        found: dict[str, int] = answer.json()["counts"]
        return found

    assert await counts() == {"unread": 2, "unseen": 2, "total": 2}
    read = await http.post(f"/v1/notifications/{ids[0]}/read", headers=manager.headers)
    foreign = await http.post(f"/v1/notifications/{ids[2]}/read", headers=manager.headers)
    assert (read.status_code, foreign.status_code) == (200, 404)
    assert await counts() == {"unread": 1, "unseen": 1, "total": 2}
    await http.post(f"/v1/notifications/{ids[0]}/archive", headers=manager.headers)
    rest = await http.post("/v1/notifications/read-all", headers=manager.headers)
    assert rest.json() == {"changed": 1}
    assert await counts() == {"unread": 0, "unseen": 0, "total": 1}


async def test_the_platform_sees_that_it_is_alive_ready_and_counting(
    http: httpx.AsyncClient, tenant: str, manager: Person
) -> None:
    await http.post(
        f"{tenant}/bulk-operation-runs", json={"resource": "policy", "action": "sync"}, headers=manager.headers
    )

    alive, ready, counted = [await http.get(path) for path in ("/healthz", "/readyz", "/metrics")]

    assert (alive.status_code, ready.status_code) == (200, 200)
    assert ready.json()["parts"]["schema"] == "ok"
    assert 'reinstate_starts_total{door="http",operation="policy.sync",outcome="created"} 1.0' in counted.text
    assert tenant.rpartition("/")[2] not in counted.text
