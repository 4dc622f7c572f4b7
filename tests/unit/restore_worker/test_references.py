"""No restore reaches more principals than the backup did."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.restore_worker.references import (
    GROUP,
    assignment_references,
    mapped_assignments,
)

FILTER = "assignmentFilter"
KINDS = (
    "groupAssignmentTarget",
    "exclusionGroupAssignmentTarget",
    "allDevicesAssignmentTarget",
    "allLicensedUsersAssignmentTarget",
    "configurationManagerCollectionAssignmentTarget",
)


def to(kind: str, filter_id: str | None = None) -> dict[str, Any]:
    target = {"@odata.type": f"#microsoft.graph.{kind}", "groupId": "g"}
    return {"target": target | ({"deviceAndAppManagementAssignmentFilterId": filter_id} if filter_id else {})}


ENTRIES = st.lists(st.builds(to, st.sampled_from(KINDS), st.sampled_from([None, "f1", "f2"])), max_size=4)
IDS = st.dictionaries(
    st.sampled_from([(FILTER, "f1"), (FILTER, "f2"), (GROUP, "g")]), st.sampled_from(["n1", "n2", "n3"])
)
KEYS = {"deviceAndAppManagementAssignmentFilterId": FILTER, "groupId": GROUP}


@given(ENTRIES, IDS)
def test_assignments_are_mapped_whole_or_not_at_all(entries: Any, ids: Any) -> None:
    mapped = mapped_assignments(entries, ids)
    if mapped is None:
        return
    assert len(mapped) == len(entries)
    for before, after in zip(entries, mapped, strict=True):
        old, new = before["target"], after["target"]
        assert old.keys() == new.keys()
        assert new["@odata.type"] == old["@odata.type"]
        for key, kind in KEYS.items():
            named = key != "groupId" or "roupAssignmentTarget" in old["@odata.type"]
            assert not named or key not in old or new[key] == ids[kind, old[key]]


@given(ENTRIES)
def test_an_exclusion_without_a_known_group_leaves_every_assignment_out(entries: Any) -> None:
    every = [*entries, to("exclusionGroupAssignmentTarget")]
    ids = {(FILTER, "f1"): "n1", (FILTER, "f2"): "n2"}
    assert mapped_assignments(every, ids) is None


def test_a_target_of_an_unknown_kind_is_never_safe() -> None:
    assert mapped_assignments([{}], {}) is None
    assert mapped_assignments([to("somethingNewAssignmentTarget")], {(GROUP, "g"): "n1"}) is None


def test_the_filter_that_means_none_needs_no_counterpart() -> None:
    none = to("allDevicesAssignmentTarget", "00000000-0000-0000-0000-000000000000")
    assert assignment_references([none]) == frozenset()
    assert mapped_assignments([none], {}) == [none]
