"""One entry of a plan, from what was found: which object is meant, and what people are told."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from services.restore_worker.desired import NO_ASSIGNMENTS, Desired
from services.restore_worker.live import Found, Seen
from services.restore_worker.material import Material
from services.restore_worker.planning import plan
from shared.connectors.normalise import fingerprint, normalised
from shared.connectors.port import Json, PolicyRef, RemotePolicy
from shared.domain.backups import Quality
from shared.domain.errors import SafeCode
from shared.domain.plans import PlanAction
from shared.domain.restore_options import RestoreOptions
from shared.ports import BackupItem

KIND = "deviceConfiguration"
OTHER = UUID(int=9)


def a_policy(**values: object) -> Json:
    return {"@odata.type": "#microsoft.graph.windows10GeneralConfiguration", "displayName": "Disk", **values}


def material(kind: str = KIND) -> Material:
    now = datetime.now(UTC)
    backup = BackupItem(UUID(int=1), UUID(int=2), None, kind, "p", "Disk", "k", "s", "f", Quality.FULL, (), now)
    return Material(backup, None)


def wanted(payload: Json, *references: Json, kind: str = KIND) -> Desired:
    form = normalised(kind, payload)
    return Desired(payload, form, fingerprint(form), 0, [], [], references)


def found(payload: Json, remote_id: str = "abc", kind: str = KIND) -> Found:
    form = normalised(kind, payload)
    policy = RemotePolicy(PolicyRef(kind, remote_id, "Disk", "k"), payload)
    return Found(Seen(policy, form, fingerprint(form), [], NO_ASSIGNMENTS), 1)


@pytest.mark.parametrize("target", ["abc", "ABC"])
def test_an_object_that_was_named_for_another_item_is_ambiguous_however_its_id_is_spelt(target: str) -> None:
    options = RestoreOptions(targets={OTHER: target})

    entry = plan(material(), wanted(a_policy(description="a")), found(a_policy()), options)

    assert (entry.action, entry.code) == (PlanAction.BLOCKED, SafeCode.RESTORE_AMBIGUOUS_TARGET)


def test_a_scope_tag_of_the_tenant_is_not_called_by_the_name_of_the_backups() -> None:
    """In the backup "1" is Berlin, which is "5" here; here "1" is another one, whose name is not known."""
    berlin = {"type": "roleScopeTag", "from": "1", "to": "5", "name": "Berlin", "confidence": "mapped"}
    goal = wanted(a_policy(roleScopeTagIds=["5"]), berlin)

    entry = plan(material(), goal, found(a_policy(roleScopeTagIds=["1"])))

    told = {line["kind"]: line["before"] or line["after"] for line in entry.changes}
    assert "Berlin" in told["added"]
    assert "Berlin" not in told["removed"]


@pytest.mark.parametrize(
    ("live", "action", "code"),
    [
        ({"defaultLocale": "de-de"}, PlanAction.BLOCKED, SafeCode.RESTORE_FIXED_AT_CREATION),
        ({"defaultLocale": "en-us", "brandingOptions": "none"}, PlanAction.UPDATE, None),
        ({"defaultLocale": "en-us"}, PlanAction.UNCHANGED, None),
    ],
)
def test_what_can_only_be_chosen_at_creation_is_not_said_to_change(
    live: Json, action: PlanAction, code: SafeCode | None
) -> None:
    """An update would leave it as it is, and the read-back would differ from what the preview had shown."""
    kind = "notificationMessageTemplate"
    base = {"displayName": "Disk", "brandingOptions": "includeCompanyLogo"}

    entry = plan(
        material(kind),
        wanted({**base, "defaultLocale": "en-us"}, kind=kind),
        found({**base, **live}, kind=kind),
    )

    assert (entry.action, entry.code) == (action, code)
