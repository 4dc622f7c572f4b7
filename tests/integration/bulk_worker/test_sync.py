from services.dispatcher.views import RunView
from shared.connectors.policy_types import all_types
from shared.domain.errors import PermanentError, RunFatalError, SafeCode, ThrottledError, TransientError
from shared.domain.runs import Counts, RunStatus
from tests.support.bulk_lab import BulkLab

TYPES = len(all_types())
OPTIONAL = "conditionalAccessPolicy"


async def test_a_sync_lists_every_type_and_fills_the_inventory(bulk: BulkLab) -> None:
    bulk.tenant.add("a")
    bulk.tenant.add("f", "assignmentFilter", rule="x")
    run = await bulk.run("policy.sync")
    assert (run.status, run.counts) == (RunStatus.SUCCEEDED, Counts(TYPES, TYPES, 0, 0))
    assert {(one.policy_type, one.remote_id) for one in await bulk.policies()} == {
        ("deviceConfiguration", "a"),
        ("assignmentFilter", "f"),
    }
    assert {name for kind, name in bulk.tenant.calls if kind == "list"} == {one.key for one in all_types()}


async def test_a_policy_that_was_deleted_is_marked_missing(bulk: BulkLab) -> None:
    bulk.tenant.add("a")
    bulk.tenant.add("b")
    await bulk.synced()
    bulk.tenant.remove("a")
    await bulk.synced()
    assert {one.remote_id: one.missing_since is not None for one in await bulk.policies()} == {"a": True, "b": False}


async def test_a_type_without_permission_fails_alone(bulk: BulkLab) -> None:
    bulk.tenant.add("a")
    bulk.tenant.fail("list", "assignmentFilter", RunFatalError(SafeCode.AUTH_PERMISSION_MISSING))
    run = await bulk.run("policy.sync")
    assert (run.status, run.counts) == (RunStatus.PARTIAL, Counts(TYPES, TYPES - 1, 1, 0))
    failed = [one for one in await bulk.outcomes(run) if one[1] == "failed"]
    assert [code for _, _, code in failed] == ["auth.permission_missing"]


async def test_a_type_whose_listing_breaks_off_keeps_its_inventory(bulk: BulkLab) -> None:
    bulk.tenant.add("a")
    await bulk.synced()
    bulk.tenant.fail("list", "deviceConfiguration", PermanentError(SafeCode.GRAPH_PAGING_BROKEN))
    run = await bulk.run("policy.sync")
    assert run.status is RunStatus.PARTIAL
    assert [one.missing_since for one in await bulk.policies()] == [None]


async def test_throttling_and_outages_are_waited_for(bulk: BulkLab) -> None:
    bulk.tenant.add("a")
    unavailable = TransientError(SafeCode.GRAPH_UNAVAILABLE)
    bulk.tenant.fail("list", "deviceConfiguration", ThrottledError(retry_after=0.0), unavailable)
    run = await bulk.run("policy.sync")
    assert run.status is RunStatus.SUCCEEDED
    assert [one.remote_id for one in await bulk.policies()] == ["a"]


async def test_every_call_says_for_which_run_and_item_it_is_made(bulk: BulkLab) -> None:
    run = await bulk.run("policy.sync")
    assert {(tag.run_id, tag.step, tag.worker) for tag in bulk.tenant.tags} == {(run.id, "read", "bulk:test")}
    assert all(tag.item_id is not None and tag.epoch > 0 for tag in bulk.tenant.tags)


async def test_a_type_whose_permission_is_optional_is_left_out_visibly(bulk: BulkLab) -> None:
    bulk.tenant.add("ca", OPTIONAL)
    await bulk.synced()
    bulk.tenant.add("a")
    bulk.tenant.fail("list", OPTIONAL, RunFatalError(SafeCode.AUTH_PERMISSION_MISSING, http_status=403))
    run = await bulk.run("policy.sync")
    assert (run.status, run.counts) == (RunStatus.SUCCEEDED, Counts(TYPES, TYPES - 1, 0, 1))
    assert run.results is not None
    assert run.results["skipped_types"] == RunView.of(run).skipped_types == [OPTIONAL]
    assert {one.remote_id: one.missing_since for one in await bulk.policies()} == {"ca": None, "a": None}


async def test_only_a_missing_permission_leaves_a_type_out(bulk: BulkLab) -> None:
    bulk.tenant.add("a")
    bulk.tenant.fail("list", OPTIONAL, PermanentError(SafeCode.GRAPH_PAGING_BROKEN))
    run = await bulk.run("policy.sync")
    assert (run.status, run.counts) == (RunStatus.PARTIAL, Counts(TYPES, TYPES - 1, 1, 0))
    assert run.results is not None
    assert "skipped_types" not in run.results
