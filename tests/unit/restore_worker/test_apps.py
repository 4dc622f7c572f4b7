"""What a reference to an app means in the tenant: by id where it lives, else by name and type, and never by guess."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from services.restore_worker.desired import Desired, Source
from services.restore_worker.live import Found, Live
from services.restore_worker.material import Content, Material
from services.restore_worker.planning import plan
from shared.connectors.normalise import natural_key
from shared.connectors.policy_types import REFERRED_ONLY
from shared.connectors.port import CallTag, Json
from shared.domain.backups import Quality
from shared.domain.errors import RunFatalError, SafeCode, TransientError
from shared.domain.plans import PlanAction
from shared.persistence.restores import NamedObject
from shared.ports import BackupItem
from tests.support.fake_writable_tenant import FakeReader, FakeTenant

APP, KIND = "mobileApp", "mobileAppConfiguration"


def an_app(name: str, kind: str = "iosStoreApp") -> Json:
    return {"@odata.type": f"#microsoft.graph.{kind}", "displayName": name}


def known(remote_id: str, name: str, kind: str = "iosStoreApp", *, is_homonym: bool = False) -> NamedObject:
    key = natural_key(REFERRED_ONLY[APP], an_app(name, kind))
    return NamedObject(APP, remote_id, name, key, "", is_homonym)


def a_source(apps: Sequence[str], referred: Sequence[NamedObject], *, here: bool = False) -> Source:
    policy_id = UUID(int=3) if here else None
    backup = BackupItem(
        UUID(int=1), UUID(int=2), policy_id, KIND, "p", "Reader", "k", "s", "f", Quality.FULL, (), datetime.now(UTC)
    )
    payload = {
        "@odata.type": "#microsoft.graph.iosMobileAppConfiguration",
        "displayName": "Reader",
        "targetedMobileApps": list(apps),
    }
    by_id = {(one.policy_type, one.remote_id): one for one in referred}
    return Source(Material(backup, None), Content(payload, [], {}, by_id))


async def nothing(_kind: str, _ids: Sequence[str]) -> frozenset[str]:
    return frozenset()


def desired(source: Source, tenant: FakeTenant) -> Desired:
    return asyncio.run(source.desired({}, Live(FakeReader(tenant), nothing), CallTag()))


def meanings(goal: Desired) -> Mapping[str, tuple[str, str | None]]:
    return {row["from"]: (row["confidence"], row["to"]) for row in goal.references}


def code_of(source: Source, goal: Desired) -> SafeCode | None:
    entry = plan(source.material, goal, Found(None))
    assert (entry.action is PlanAction.BLOCKED) == (entry.code is not None)
    return entry.code


def test_an_app_elsewhere_is_the_one_of_its_name_and_type() -> None:
    tenant = FakeTenant(prefix="own")
    reader = tenant.add(APP, an_app("Reader"))
    tenant.add(APP, an_app("Reader", "androidManagedStoreApp"))
    notes = tenant.add(APP, an_app("Notes"))
    source = a_source(["a", "b"], [known("a", "Reader"), known("b", "Notes")])

    goal = desired(source, tenant)

    assert meanings(goal) == {"a": ("mapped", reader), "b": ("mapped", notes)}
    assert goal.payload["targetedMobileApps"] == [reader, notes]
    assert [row["name"] for row in goal.references] == ["Reader", "Notes"]
    assert code_of(source, goal) is None


@pytest.mark.parametrize("here", [True, False])
def test_an_app_that_lives_under_its_id_is_itself_whatever_it_is_called_now(here: bool) -> None:  # noqa: FBT001  parametrised
    tenant = FakeTenant()
    tenant.add(APP, an_app("Reader, new"), remote_id="a")
    tenant.add(APP, an_app("Reader"))
    goal = desired(a_source(["a"], [known("a", "Reader")], here=here), tenant)
    assert meanings(goal) == {"a": ("mapped", "a")}


def test_an_app_that_was_deleted_and_added_again_is_found_by_its_name() -> None:
    tenant = FakeTenant()
    again = tenant.add(APP, an_app("Reader"))
    assert meanings(desired(a_source(["a"], [known("a", "Reader")], here=True), tenant)) == {"a": ("mapped", again)}


@pytest.mark.parametrize(
    ("apps", "referred", "confidence"),
    [
        ([an_app("Reader"), an_app("Reader")], [known("a", "Reader")], "ambiguous"),
        ([an_app("Reader")], [known("a", "Reader", is_homonym=True)], "ambiguous"),
        ([an_app("Notes")], [known("a", "Reader")], "missing"),
        ([an_app("Reader", "iosVppApp")], [known("a", "Reader")], "missing"),
        ([an_app("Reader")], [], "missing"),  # the backup does not say what it is called
        ([], [known("a", "Reader")], "missing"),
    ],
)
def test_an_app_that_is_not_certain_blocks_its_policy_and_says_what_to_do(
    apps: Sequence[Json], referred: Sequence[NamedObject], confidence: str
) -> None:
    tenant = FakeTenant(prefix="own")
    for app in apps:
        tenant.add(APP, app)
    source = a_source(["a"], referred)
    goal = desired(source, tenant)
    assert meanings(goal) == {"a": (confidence, None)}
    assert code_of(source, goal) is SafeCode.RESTORE_APP_UNCERTAIN


def test_two_apps_of_the_backup_that_lead_to_one_are_both_ambiguous() -> None:
    tenant = FakeTenant(prefix="own")
    tenant.add(APP, an_app("Reader"))
    tenant.add(APP, an_app("Notes"), remote_id="c")
    source = a_source(["a", "b", "c"], [known("a", "Reader"), known("b", "Reader"), known("c", "Notes")])
    goal = desired(source, tenant)
    assert meanings(goal) == {"a": ("ambiguous", None), "b": ("ambiguous", None), "c": ("mapped", "c")}
    assert code_of(source, goal) is SafeCode.RESTORE_APP_UNCERTAIN


class Closed(FakeReader):
    """A tenant that lets nobody list apps."""

    def __init__(self, error: Exception) -> None:
        super().__init__(FakeTenant())
        self.error, self.asked = error, 0

    async def list_refs(self, policy_type: str, tag: CallTag) -> Any:
        self.asked += 1
        raise self.error
        yield


def test_apps_that_may_not_be_listed_are_missing_and_asked_for_once() -> None:
    reader = Closed(RunFatalError(SafeCode.AUTH_PERMISSION_MISSING))
    live, source = Live(reader, nothing), a_source(["a", "b"], [known("a", "Reader")])
    goal = asyncio.run(source.desired({}, live, CallTag()))
    assert meanings(goal) == {"a": ("missing", None), "b": ("missing", None)}
    assert reader.asked == 1


@pytest.mark.parametrize(
    "error", [TransientError(SafeCode.GRAPH_UNAVAILABLE), RunFatalError(SafeCode.AUTH_TOKEN_INVALID)]
)
def test_a_listing_of_apps_that_fails_otherwise_fails_as_any(error: Exception) -> None:
    with pytest.raises(type(error)):
        asyncio.run(a_source(["a"], []).desired({}, Live(Closed(error), nothing), CallTag()))
