from uuid import UUID, uuid4

import pytest

from shared.connectors.policy_types import all_types
from shared.domain.backups import CaptureWarning, Quality
from shared.domain.errors import PermanentError, RunFatalError, SafeCode, ThrottledError, TransientError
from shared.domain.runs import Counts, RunStatus
from shared.ports import BackupSet
from tests.support.bulk_lab import BulkLab

CREATE = "backup_set.create"
ADD = "backup_set.add_policies"
OPTIONAL = "conditionalAccessPolicy"


async def the_set(bulk: BulkLab, set_id: UUID) -> BackupSet:
    async with bulk.world.uow.begin(bulk.world.tenant_id) as tx:
        found = await tx.backups.get_set(set_id)
    assert found is not None
    return found


async def test_everything_is_captured_foundations_first(bulk: BulkLab) -> None:
    bulk.tenant.add("p", value=1)
    bulk.tenant.add("f", "assignmentFilter", rule="x")
    run = await bulk.run(CREATE, selector={"all": True}, metadata={"name": "Nightly"})
    assert (run.status, run.counts) == (RunStatus.SUCCEEDED, Counts(2, 2, 0, 0))
    assert [name for kind, name in bulk.tenant.calls if kind == "read"] == ["f", "p"]
    made = await the_set(bulk, run.id)
    assert (made.name, made.created_by, made.items, made.degraded) == ("Nightly", "Mara", 2, 0)
    assert made.completed_at is not None
    assert {item.remote_id for item in await bulk.set_items(run.id)} == {"f", "p"}


async def test_a_selection_by_type_lists_only_these_types(bulk: BulkLab) -> None:
    bulk.tenant.add("p")
    bulk.tenant.add("f", "assignmentFilter")
    run = await bulk.run(CREATE, selector={"policy_types": ["assignmentFilter"]})
    assert [item.remote_id for item in await bulk.set_items(run.id)] == ["f"]
    assert bulk.tenant.calls == [("list", "assignmentFilter"), ("read", "f")]


async def test_a_selection_by_ids_takes_these_policies_and_names_the_set_by_its_date(bulk: BulkLab) -> None:
    for name in "abc":
        bulk.tenant.add(name)
    ids = await bulk.synced()
    run = await bulk.run(CREATE, item_ids=[ids["a"], ids["c"], ids["a"]])
    assert [item.remote_id for item in await bulk.set_items(run.id)] == ["a", "c"]
    assert run.counts == Counts(2, 2, 0, 0)
    assert (await the_set(bulk, run.id)).name == f"Backup of {run.created_at:%Y-%m-%d %H:%M} UTC"


async def test_an_id_that_is_no_policy_of_the_tenant_fails_its_item(bulk: BulkLab) -> None:
    bulk.tenant.add("a")
    ids = await bulk.synced()
    stranger = uuid4()
    run = await bulk.run(CREATE, item_ids=[ids["a"], stranger])
    assert (run.status, run.counts) == (RunStatus.PARTIAL, Counts(2, 1, 1, 0))
    assert (str(stranger), "failed", "selection.unknown_items") in await bulk.outcomes(run)


async def test_a_policy_deleted_meanwhile_is_skipped(bulk: BulkLab) -> None:
    bulk.tenant.add("a")
    bulk.tenant.add("b")
    ids = await bulk.synced()
    bulk.tenant.remove("a")
    run = await bulk.run(CREATE, item_ids=list(ids.values()))
    assert (run.status, run.counts) == (RunStatus.SUCCEEDED, Counts(2, 1, 0, 1))
    assert ("Policy a", "skipped", "policy.not_found") in await bulk.outcomes(run)


async def test_a_type_that_cannot_be_listed_makes_the_set_partial_and_says_why(bulk: BulkLab) -> None:
    bulk.tenant.add("a")
    denied = [RunFatalError(SafeCode.AUTH_PERMISSION_MISSING) for _ in range(2)]
    bulk.tenant.fail("list", "assignmentFilter", *denied)
    run = await bulk.run(CREATE, selector={"all": True})
    assert (run.status, run.counts) == (RunStatus.PARTIAL, Counts(2, 1, 1, 0))
    assert ("Assignment filter", "failed", "auth.permission_missing") in await bulk.outcomes(run)
    assert run.results is not None
    assert run.results["set"]["items"] == 1


async def test_a_backup_of_everything_leaves_out_a_type_whose_permission_is_optional_and_says_so(bulk: BulkLab) -> None:
    bulk.tenant.add("a")
    denied = [RunFatalError(SafeCode.AUTH_PERMISSION_MISSING) for _ in range(2)]
    bulk.tenant.fail("list", OPTIONAL, *denied)
    run = await bulk.run(CREATE, selector={"all": True})
    assert (run.status, run.counts) == (RunStatus.SUCCEEDED, Counts(2, 1, 0, 1))
    assert ("Conditional access policy", "skipped", "auth.permission_missing") in await bulk.outcomes(run)
    assert run.results is not None
    assert (run.results["skipped_types"], run.results["set"]["items"]) == ([OPTIONAL], 1)


async def test_whoever_names_a_type_is_told_that_its_permission_is_missing(bulk: BulkLab) -> None:
    denied = [RunFatalError(SafeCode.AUTH_PERMISSION_MISSING) for _ in range(2)]
    bulk.tenant.fail("list", OPTIONAL, *denied)
    run = await bulk.run(CREATE, selector={"policy_types": [OPTIONAL]})
    assert (run.status, run.counts) == (RunStatus.FAILED, Counts(1, 0, 1, 0))


async def test_a_type_that_can_be_listed_a_moment_later_brings_its_policies_into_the_run(bulk: BulkLab) -> None:
    bulk.tenant.add("a")
    bulk.tenant.add("f1", "assignmentFilter")
    bulk.tenant.add("f2", "assignmentFilter")
    outages = [TransientError(SafeCode.GRAPH_UNAVAILABLE) for _ in range(2)]
    bulk.tenant.fail("list", "assignmentFilter", *outages)
    run = await bulk.run(CREATE, selector={"all": True})
    assert (run.status, run.counts) == (RunStatus.SUCCEEDED, Counts(4, 4, 0, 0))
    assert {item.remote_id for item in await bulk.set_items(run.id)} == {"a", "f1", "f2"}


async def test_throttling_while_listing_waits_and_lists_again(bulk: BulkLab) -> None:
    bulk.tenant.add("a")
    bulk.tenant.fail("list", "deviceConfiguration", ThrottledError(retry_after=0.0))
    run = await bulk.run(CREATE, selector={"all": True})
    assert (run.status, run.counts) == (RunStatus.SUCCEEDED, Counts(1, 1, 0, 0))


async def test_a_revoked_sign_in_ends_the_run(bulk: BulkLab) -> None:
    bulk.tenant.add("a")
    bulk.tenant.fail("list", "deviceConfiguration", RunFatalError(SafeCode.AUTH_TOKEN_INVALID))
    run = await bulk.run(CREATE, selector={"all": True})
    assert (run.status, run.error_code) == (RunStatus.FAILED, SafeCode.AUTH_TOKEN_INVALID)


async def test_an_unknown_type_in_the_selection_ends_the_run(bulk: BulkLab) -> None:
    run = await bulk.run(CREATE, selector={"policy_types": ["inventedType"]})
    assert (run.status, run.error_code) == (RunStatus.FAILED, SafeCode.POLICY_TYPE_UNKNOWN)


async def test_one_bad_policy_does_not_stop_the_others(bulk: BulkLab) -> None:
    for number in range(10):
        bulk.tenant.add(f"r{number}")
    bulk.tenant.fail("read", "r3", PermanentError(SafeCode.GRAPH_BAD_REQUEST, http_status=400))
    run = await bulk.run(CREATE, selector={"all": True})
    assert (run.status, run.counts) == (RunStatus.PARTIAL, Counts(10, 9, 1, 0))
    async with bulk.world.uow.begin(bulk.world.tenant_id) as tx:
        assert await tx.backups.policies_in_set(run.id, [one.id for one in await bulk.policies()]) == {
            one.id for one in await bulk.policies() if one.remote_id != "r3"
        }


async def test_a_second_backup_of_an_unchanged_tenant_stores_no_second_copy(bulk: BulkLab) -> None:
    for number in range(5):
        bulk.tenant.add(f"r{number}")
    first = await bulk.run(CREATE, selector={"all": True})
    bulk.tenant.add("r0", description="changed")
    second = await bulk.run(CREATE, selector={"all": True})
    assert (await bulk.count("backup_items"), await bulk.count("snapshots")) == (10, 6)
    assert first.results is not None
    assert second.results is not None
    assert (first.results["set"]["bytes_reused"], first.results["set"]["bytes_stored"] > 0) == (0, True)
    assert 0 < second.results["set"]["bytes_stored"] < second.results["set"]["bytes_reused"]


async def test_what_was_not_captured_in_full_says_so(bulk: BulkLab) -> None:
    bulk.tenant.add("secret", omaSettings=[{"isEncrypted": True, "secretReferenceValueId": "ref", "value": "****"}])
    bulk.tenant.add("unassigned", isAssigned=True)
    bulk.tenant.add("bare", "settingsCatalogPolicy", name="Bare", settingCount=2)
    bulk.tenant.add("short", "settingsCatalogPolicy", name="Short", settingCount=2, settings=[{}])
    run = await bulk.run(CREATE, selector={"all": True})
    judged = {item.remote_id: (item.quality, item.warnings) for item in await bulk.set_items(run.id)}
    assert judged == {
        "secret": (Quality.DEGRADED, (CaptureWarning.MASKED_SECRET,)),
        "unassigned": (Quality.DEGRADED, (CaptureWarning.ASSIGNMENTS_MISSING,)),
        "bare": (Quality.METADATA_ONLY, (CaptureWarning.SETTINGS_MISSING,)),
        "short": (Quality.DEGRADED, (CaptureWarning.SETTINGS_INCOMPLETE,)),
    }
    assert (await the_set(bulk, run.id)).degraded == 4


async def test_adding_policies_skips_what_the_set_holds_and_reads_it_not_again(bulk: BulkLab) -> None:
    bulk.tenant.add("a")
    ids = await bulk.synced()
    made = await bulk.run(CREATE, item_ids=[ids["a"]])
    bulk.tenant.add("b")
    ids = await bulk.synced()
    bulk.tenant.calls.clear()
    run = await bulk.run(ADD, target_id=made.id, item_ids=list(ids.values()))
    assert (run.status, run.counts) == (RunStatus.SUCCEEDED, Counts(2, 1, 0, 1))
    assert await bulk.outcomes(run) == [
        ("Policy a", "skipped", "backup_set.item_already_in_set"),
        ("Policy b", "captured", None),
    ]
    assert bulk.tenant.calls == [("read", "b")]
    assert {item.remote_id for item in await bulk.set_items(made.id)} == {"a", "b"}


async def test_adding_to_a_set_that_is_not_the_tenants_ends_the_run(bulk: BulkLab) -> None:
    bulk.tenant.add("a")
    ids = await bulk.synced()
    run = await bulk.run(ADD, target_id=uuid4(), item_ids=list(ids.values()))
    assert (run.status, run.error_code) == (RunStatus.FAILED, SafeCode.BACKUP_SET_NOT_FOUND)


@pytest.mark.parametrize("times", [1, 2])
async def test_the_document_of_a_capture_has_the_shape_that_restores_read(bulk: BulkLab, times: int) -> None:
    assignment = {"id": "1", "target": {"groupId": "g"}}
    bulk.tenant.add("a", value=1, assignments=[assignment])
    for _ in range(times):
        run = await bulk.run(CREATE, selector={"all": True})
    item = (await bulk.set_items(run.id))[0]
    async with bulk.world.uow.begin(bulk.world.tenant_id) as tx:
        read = await tx.snapshots.read_many([item.snapshot_sha256])
    assert read[item.snapshot_sha256] == {
        "policy_type": "deviceConfiguration",
        "payload": {"id": "a", "displayName": "Policy a", "value": 1},
        "assignments": [assignment],
    }


async def test_the_types_of_all_are_those_of_the_registry(bulk: BulkLab) -> None:
    bulk.tenant.add("a")
    await bulk.run(CREATE, selector={"all": True})
    assert [name for kind, name in bulk.tenant.calls if kind == "list"] == [one.key for one in all_types()]
