from typing import Any
from uuid import uuid4

from shared.domain.errors import PermanentError, SafeCode
from shared.domain.runs import RunStatus
from tests.support.bulk_lab import BulkLab

CAPTURE = "policy.capture_snapshot"


async def test_a_capture_is_stored_and_an_unchanged_policy_costs_no_second_copy(bulk: BulkLab) -> None:
    bulk.tenant.add("a", value=1)
    ids = await bulk.synced()
    first = await bulk.run(CAPTURE, target_id=ids["a"])
    second = await bulk.run(CAPTURE, target_id=ids["a"])
    assert await bulk.outcomes(first) == [("Policy a", "captured", None)]
    assert await bulk.outcomes(second) == [("Policy a", "unchanged", None)]
    assert (await bulk.count("snapshots"), await bulk.count("backup_items")) == (1, 0)


async def test_a_changed_policy_is_stored_again(bulk: BulkLab) -> None:
    bulk.tenant.add("a", value=1)
    ids = await bulk.synced()
    await bulk.run(CAPTURE, target_id=ids["a"])
    bulk.tenant.add("a", value=2)
    run = await bulk.run(CAPTURE, target_id=ids["a"])
    assert [outcome for _, outcome, _ in await bulk.outcomes(run)] == ["captured"]
    assert await bulk.count("snapshots") == 2


async def test_the_order_of_assignments_makes_no_second_copy(bulk: BulkLab) -> None:
    one, other = {"id": "1", "target": {"groupId": "g"}}, {"id": "2", "target": {"groupId": "h"}}
    bulk.tenant.add("a", assignments=[one, other])
    ids = await bulk.synced()
    await bulk.run(CAPTURE, target_id=ids["a"])
    bulk.tenant.add("a", assignments=[other, one])
    run = await bulk.run(CAPTURE, target_id=ids["a"])
    assert [outcome for _, outcome, _ in await bulk.outcomes(run)] == ["unchanged"]


async def test_a_policy_that_is_gone_fails_the_run(bulk: BulkLab) -> None:
    bulk.tenant.add("a")
    ids = await bulk.synced()
    bulk.tenant.remove("a")
    run = await bulk.run(CAPTURE, target_id=ids["a"])
    assert run.status is RunStatus.FAILED
    assert await bulk.outcomes(run) == [("Policy a", "failed", "policy.not_found")]


async def test_a_target_of_another_tenant_fails_the_run(bulk: BulkLab) -> None:
    run = await bulk.run(CAPTURE, target_id=uuid4())
    assert (run.status, run.error_code) == (RunStatus.FAILED, SafeCode.POLICY_NOT_FOUND)
    assert bulk.tenant.calls == []


async def test_a_policy_that_json_cannot_carry_exactly_fails_safely(bulk: BulkLab) -> None:
    bulk.tenant.add("a", value=2**60)
    ids = await bulk.synced()
    run = await bulk.run(CAPTURE, target_id=ids["a"])
    assert await bulk.outcomes(run) == [("Policy a", "failed", "policy.not_canonical")]
    assert await bulk.count("snapshots") == 0


def to(group: str, kind: str = "groupAssignmentTarget") -> dict[str, Any]:
    return {"target": {"@odata.type": f"#microsoft.graph.{kind}", "groupId": group}}


async def documents(bulk: BulkLab) -> list[dict[str, Any]]:
    rows = await bulk.world.rows("SELECT sha256 FROM snapshots ORDER BY created_at")
    async with bulk.world.uow.begin(bulk.world.tenant_id) as tx:
        found = await tx.snapshots.read_many([row["sha256"] for row in rows])
    return [found[row["sha256"]] for row in rows]


async def test_the_names_of_the_groups_that_assignments_refer_to_are_captured(bulk: BulkLab) -> None:
    bulk.tenant.groups = {"g": "Pilots", "h": "Kiosks", "i": "Nobody asked"}
    bulk.tenant.add("a", assignments=[to("g"), to("h", "exclusionGroupAssignmentTarget"), to("gone")])
    ids = await bulk.synced()
    await bulk.run(CAPTURE, target_id=ids["a"])
    assert [one["groups"] for one in await documents(bulk)] == [{"g": "Pilots", "h": "Kiosks"}]


async def test_a_name_that_two_groups_share_names_neither(bulk: BulkLab) -> None:
    """In another tenant it would be taken for one of them."""
    bulk.tenant.groups = {"g": "Pilots", "other": "Pilots"}
    bulk.tenant.add("a", assignments=[to("g")])
    ids = await bulk.synced()
    await bulk.run(CAPTURE, target_id=ids["a"])
    assert ["groups" in one for one in await documents(bulk)] == [False]


async def test_a_policy_without_groups_asks_for_none(bulk: BulkLab) -> None:
    bulk.tenant.add("a", assignments=[{"target": {"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"}}])
    ids = await bulk.synced()
    await bulk.run(CAPTURE, target_id=ids["a"])
    assert ["groups" in one for one in await documents(bulk)] == [False]
    assert not [call for call in bulk.tenant.calls if call[0] == "groups"]


async def test_a_capture_is_whole_where_groups_may_not_be_read(bulk: BulkLab) -> None:
    bulk.tenant.groups = {"g": "Pilots"}
    bulk.tenant.fail("groups", "ids", PermanentError(SafeCode.AUTH_PERMISSION_MISSING))
    bulk.tenant.add("a", assignments=[to("g")])
    ids = await bulk.synced()
    run = await bulk.run(CAPTURE, target_id=ids["a"])
    assert await bulk.outcomes(run) == [("Policy a", "captured", None)]
    assert ["groups" in one for one in await documents(bulk)] == [False]


APP, CONFIGURATION = "mobileApp", "mobileAppConfiguration"


def an_app(name: str) -> dict[str, Any]:
    return {"displayName": name, "@odata.type": "#microsoft.graph.iosStoreApp"}


async def test_name_and_natural_key_of_the_apps_that_a_policy_refers_to_are_captured(bulk: BulkLab) -> None:
    for remote_id, name in (("a1", "Reader"), ("a2", "Notes"), ("a3", "Notes")):
        bulk.tenant.add(remote_id, APP, **an_app(name))
    bulk.tenant.add("c", CONFIGURATION, targetedMobileApps=["a1", "a2", "gone"])
    ids = await bulk.synced()
    await bulk.run(CAPTURE, target_id=ids["c"])
    [document] = await documents(bulk)
    assert [(row["remote_id"], row["display_name"], row["is_homonym"]) for row in document["referred"]] == [
        ("a1", "Reader", False),
        ("a2", "Notes", True),
    ]
    assert {row["natural_key"] for row in document["referred"]} == {
        '["iosStoreApp","Reader"]',
        '["iosStoreApp","Notes"]',
    }
    assert bulk.tenant.calls.count(("list", APP)) == 1
    rows = await bulk.world.rows("SELECT DISTINCT policy_type FROM policies")
    assert APP not in {row["policy_type"] for row in rows}


async def test_a_policy_without_apps_lists_none(bulk: BulkLab) -> None:
    bulk.tenant.add("c", CONFIGURATION, targetedMobileApps=[])
    ids = await bulk.synced()
    await bulk.run(CAPTURE, target_id=ids["c"])
    assert ["referred" in one for one in await documents(bulk)] == [False]
    assert ("list", APP) not in bulk.tenant.calls
