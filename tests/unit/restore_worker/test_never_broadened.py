"""No restore reaches more principals than the backup did: random lists, random members, random maps of ids.

What a list reaches is computed here a second time, from Graph's own entries and with the members known.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from services.restore_worker.desired import Source
from services.restore_worker.live import Live
from services.restore_worker.material import Content, Material
from services.restore_worker.references import GROUP, mapped_assignments, reach_no_further
from shared.connectors.normalise import fingerprint, normalised
from shared.connectors.port import CallTag, Json
from shared.domain.backups import Quality
from shared.persistence.restores import NamedObject
from shared.ports import BackupItem
from tests.support.fake_writable_tenant import FakeReader, FakeTenant

FILTER = "assignmentFilter"
FILTER_ID = "deviceAndAppManagementAssignmentFilterId"
FILTER_TYPE = "deviceAndAppManagementAssignmentFilterType"
EVERYBODY = frozenset(range(8))  # the even ones are users, the odd ones devices
USERS, DEVICES = frozenset(range(0, 8, 2)), frozenset(range(1, 8, 2))
GROUPS, FILTERS = ("a", "b", "c"), ("f", "g")  # of the backup
OWN_GROUPS, OWN_FILTERS = ("x", "y", "z"), ("m", "n")  # of the tenant
NAMES = ("Sales", "sales", "Kiosks", "Pilots")

Ids = dict[tuple[str, str], str]
People = Mapping[str, frozenset[int]]  # who is in a group, or matches a filter
Mapper = Callable[[Sequence[Json], Ids], list[Json] | None]
PEOPLE = st.frozensets(st.sampled_from(sorted(EVERYBODY)))


def to(kind: str, filter_id: str | None = None, mode: str = "none", **target: Any) -> Json:
    target["@odata.type"] = f"#microsoft.graph.{kind}AssignmentTarget"
    return {"target": target | ({FILTER_ID: filter_id, FILTER_TYPE: mode} if filter_id else {})}


def entries() -> st.SearchStrategy[list[Json]]:
    narrowed = st.tuples(st.sampled_from([None, *FILTERS]), st.sampled_from(["include", "exclude"]))
    included = st.builds(lambda group, narrow: to("group", *narrow, groupId=group), st.sampled_from(GROUPS), narrowed)
    everybody = st.builds(
        lambda kind, narrow: to(kind, *narrow), st.sampled_from(["allDevices", "allLicensedUsers"]), narrowed
    )
    excluded = st.builds(lambda group: to("exclusionGroup", groupId=group), st.sampled_from(GROUPS))
    return st.lists(st.one_of(included, everybody, excluded), min_size=1, max_size=5)


def reach(assignments: Sequence[Json], people: People) -> frozenset[int]:
    """Whom the list reaches when the members are known."""
    included: frozenset[int] = frozenset()
    excluded: frozenset[int] = frozenset()
    for one in assignments:
        target = one["target"]
        kind = target["@odata.type"].removeprefix("#microsoft.graph.").removesuffix("AssignmentTarget")
        named = {"allDevices": DEVICES, "allLicensedUsers": USERS}.get(kind) or people.get(
            target.get("groupId"), frozenset()
        )
        if FILTER_ID in target and target[FILTER_TYPE] != "none":
            matched = people[target[FILTER_ID]]
            named &= matched if target[FILTER_TYPE] == "include" else EVERYBODY - matched
        if kind == "exclusionGroup":
            excluded |= named
        else:
            included |= named
    return included - excluded


def in_truth(ids: Ids, own: People, unknown: People) -> People:
    """Who is meant by the backup's ids: whom the map says, as far as it can be right.

    Of ids that have no counterpart, or share one, nothing is known: it may be anybody.
    """
    meant = dict(unknown)
    for (kind, theirs), ours in ids.items():
        if sum(other == ours and one[0] == kind for one, other in ids.items()) == 1:
            meant[theirs] = own[ours]
    return meant


def some_ids() -> st.SearchStrategy[Ids]:
    """Maps that are partial, and not always one to one."""
    groups = st.dictionaries(st.sampled_from(GROUPS), st.sampled_from(OWN_GROUPS))
    filters = st.dictionaries(st.sampled_from(FILTERS), st.sampled_from(OWN_FILTERS))

    def both(groups: dict[str, str], filters: dict[str, str]) -> Ids:
        return {(GROUP, one): own for one, own in groups.items()} | {(FILTER, one): own for one, own in filters.items()}

    return st.builds(both, groups, filters)


def people(*ids: str) -> st.SearchStrategy[People]:
    return st.fixed_dictionaries(dict.fromkeys(ids, PEOPLE))


OWN = people(*OWN_GROUPS, *OWN_FILTERS)
UNKNOWN = people(*GROUPS, *FILTERS)
CASE = st.tuples(entries(), some_ids(), OWN, UNKNOWN)
Case = tuple[list[Json], Ids, People, People]


# --- mappers with a bug, and one without ------------------------------------------------------------------------------


def _with_ids(one: Json, ids: Ids) -> Json:
    target = dict(one["target"])
    for key, kind in (("groupId", GROUP), (FILTER_ID, FILTER)):
        if key in target:
            target[key] = ids.get((kind, target[key]), target[key])
    return {"target": target}


def _is_mapped(one: Json, ids: Ids) -> bool:
    target = one["target"]
    keys = ((GROUP, target.get("groupId")), (FILTER, target.get(FILTER_ID)))
    return all((kind, value) in ids for kind, value in keys if value is not None)


def drops_unmapped_exclusions(assignments: Sequence[Json], ids: Ids) -> list[Json] | None:
    kept = [one for one in assignments if "exclusion" not in one["target"]["@odata.type"] or _is_mapped(one, ids)]
    return mapped_assignments(kept, ids)


def drops_unmapped_include_filters(assignments: Sequence[Json], ids: Ids) -> list[Json] | None:
    return mapped_assignments([_without_filter(one, "include", ids) for one in assignments], ids)


def drops_unmapped_exclude_filters(assignments: Sequence[Json], ids: Ids) -> list[Json] | None:
    return mapped_assignments([_without_filter(one, "exclude", ids) for one in assignments], ids)


def _without_filter(one: Json, mode: str, ids: Ids) -> Json:
    target = one["target"]
    if target.get(FILTER_TYPE) != mode or (FILTER, target[FILTER_ID]) in ids:
        return one
    return {"target": {key: value for key, value in target.items() if key not in (FILTER_ID, FILTER_TYPE)}}


def forgets_filters_of_all_devices(assignments: Sequence[Json], ids: Ids) -> list[Json] | None:
    mapped = mapped_assignments(assignments, ids)
    return mapped and [to("allDevices") if "allDevices" in one["target"]["@odata.type"] else one for one in mapped]


def turns_filters_round(assignments: Sequence[Json], ids: Ids) -> list[Json] | None:
    mapped = mapped_assignments(assignments, ids)
    return mapped and [
        {"target": {**one["target"], FILTER_TYPE: "include"}} if FILTER_ID in one["target"] else one for one in mapped
    ]


def keeps_ids_without_counterpart(assignments: Sequence[Json], ids: Ids) -> list[Json] | None:
    """An exclusion of a group that is not there excludes nobody."""
    return [_with_ids(one, ids) for one in assignments if _is_mapped(one, ids) or FILTER_ID not in one["target"]]


def lets_groups_share_a_counterpart(assignments: Sequence[Json], ids: Ids) -> list[Json] | None:
    """What maps correctly does this when nobody refuses a map that is not one to one."""
    return mapped_assignments(assignments, ids)


BUGS = (
    drops_unmapped_exclusions,
    drops_unmapped_include_filters,
    drops_unmapped_exclude_filters,
    forgets_filters_of_all_devices,
    turns_filters_round,
    keeps_ids_without_counterpart,
    lets_groups_share_a_counterpart,
)


def is_broader(case: Case, mapper: Mapper, *, gated: bool) -> bool:
    captured, ids, own, unknown = case
    planned = mapper(captured, ids)
    if planned is None or (gated and not reach_no_further(planned, captured, ids)):
        return False
    return not reach(planned, {**own, **dict.fromkeys(GROUPS, frozenset())}) <= reach(
        captured, in_truth(ids, own, unknown)
    )


@pytest.mark.parametrize("bug", BUGS)
def test_a_mapper_with_a_bug_is_found_where_nothing_stops_it(bug: Mapper) -> None:
    """The property can fail: without the gate each of these broadens some list."""
    try:
        found = find(CASE, lambda case: is_broader(case, bug, gated=False), settings=settings(max_examples=2000))
    except NoSuchExample:
        pytest.fail(f"{bug.__name__} was not caught")
    assert not is_broader(found, bug, gated=True)


@pytest.mark.parametrize("mapper", [mapped_assignments, *BUGS])
@settings(max_examples=200, deadline=None)
@given(CASE)
def test_nothing_that_passes_the_gate_reaches_anybody_new_whatever_made_it(mapper: Mapper, case: Case) -> None:
    assert not is_broader(case, mapper, gated=True)


@settings(max_examples=200, deadline=None)
@given(entries(), st.permutations(OWN_GROUPS), st.permutations(OWN_FILTERS))
def test_a_map_that_is_whole_and_one_to_one_passes_the_gate(
    captured: list[Json], groups: list[str], filters: list[str]
) -> None:
    """A gate that lets nothing through would be sound as well."""
    ids: Ids = {(GROUP, one): own for one, own in zip(GROUPS, groups, strict=True)}
    ids |= {(FILTER, one): own for one, own in zip(FILTERS, filters, strict=True)}
    planned = mapped_assignments(captured, ids)
    assert planned is not None
    assert reach_no_further(planned, captured, ids)


# --- the planner as it is ---------------------------------------------------------------------------------------------

RULES = ('(device.model -eq "A")', '(device.model -eq "B")')


def a_filter(name: str, rule: str) -> Json:
    return {"displayName": name, "platform": "windows10AndLater", "rule": rule}


@st.composite
def a_move(draw: st.DrawFn) -> tuple[Source, FakeTenant, People, People]:
    """A backed-up item, the tenant that it is restored into, and who is who in both."""
    names = st.sampled_from(NAMES)
    groups = draw(st.dictionaries(st.sampled_from(GROUPS), names))
    tenant = FakeTenant(groups=draw(st.dictionaries(st.sampled_from((*OWN_GROUPS, "a")), names)))
    known: dict[tuple[str, str], NamedObject] = {}
    for one in draw(st.sets(st.sampled_from(FILTERS))):
        backed_up = a_filter(draw(names), draw(st.sampled_from(RULES)))
        key = f'["{backed_up["displayName"]}","windows10AndLater"]'
        prints = fingerprint(normalised(FILTER, backed_up))
        known[FILTER, one] = NamedObject(FILTER, one, backed_up["displayName"], key, prints, draw(st.booleans()))
    for one in draw(st.sets(st.sampled_from((*OWN_FILTERS, "f")))):
        tenant.add(FILTER, a_filter(draw(names), draw(st.sampled_from(RULES))), remote_id=one)
    here = draw(st.booleans())
    backup = BackupItem(
        UUID(int=1),
        UUID(int=2),
        UUID(int=3) if here else None,
        "deviceConfiguration",
        "p",
        "Disk",
        "k",
        "s",
        "f",
        Quality.FULL,
        (),
        datetime.now(UTC),
    )
    payload = {"@odata.type": "#microsoft.graph.windows10GeneralConfiguration", "displayName": "Disk"}
    source = Source(Material(backup, None), Content(payload, draw(entries()), groups), known)
    own = draw(people(*OWN_GROUPS, *OWN_FILTERS, "a", "f"))
    return source, tenant, own, draw(UNKNOWN)


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(a_move())
def test_no_plan_of_the_planner_reaches_anybody_whom_the_backup_does_not(
    move: tuple[Source, FakeTenant, People, People],
) -> None:
    source, tenant, own, unknown = move

    async def nothing(_kind: str, _ids: Sequence[str]) -> frozenset[str]:
        return frozenset()

    goal = asyncio.run(source.desired({}, Live(FakeReader(tenant), nothing), CallTag()))

    if goal.assignments is not None:
        ids = {(row["type"], row["from"]): row["to"] for row in goal.references if row["confidence"] == "mapped"}
        assert len(set(ids.items())) == len({(kind, to) for (kind, _), to in ids.items()})
        assert reach(goal.assignments, own) <= reach(source.assignments or [], in_truth(ids, own, unknown))
    uncertain = [row for row in goal.references if row["confidence"] in ("ambiguous", "missing")]
    assert (goal.assignments is None) == bool(uncertain)
    assert all(row["to"] is None for row in uncertain)
