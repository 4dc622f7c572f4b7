"""Whom a list of assignments reaches, as an algebra of sets, and whether one list reaches nobody that another does not.

A list reaches the union of its includes, without every group that it excludes. An include is a group, all users or all
devices, narrowed by a filter to those that match it, or to those that do not. Who is in a group and what a filter
matches is not known here: `is_within` answers for every membership that there can be.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeAlias

Assignment: TypeAlias = Mapping[str, Any]

NO_FILTER = "00000000-0000-0000-0000-000000000000"  # Graph's id for "none"
GROUP_ID = "groupId"
FILTER_ID = "deviceAndAppManagementAssignmentFilterId"
FILTER_TYPE = "deviceAndAppManagementAssignmentFilterType"
_TYPE = "@odata.type"
_READ = frozenset({_TYPE, GROUP_ID, FILTER_ID, FILTER_TYPE})
_SERVER_MADE = frozenset({"id", "source", "sourceId", "target"})
_NOWHERE = "\0"  # before an id of the backup that has no counterpart: no id of a tenant begins so


class Kind(StrEnum):
    """The targets whose meaning is known, by the name that Graph gives them."""

    GROUP = "groupAssignmentTarget"
    EXCLUDED_GROUP = "exclusionGroupAssignmentTarget"
    ALL_DEVICES = "allDevicesAssignmentTarget"
    ALL_USERS = "allLicensedUsersAssignmentTarget"

    @property
    def names_a_group(self) -> bool:
        """True for a target that means nothing without its group."""
        return self in (Kind.GROUP, Kind.EXCLUDED_GROUP)


@dataclass(frozen=True, slots=True)
class Target:
    """One entry of a list. `how` is all else that it says (intent, settings): reached otherwise is another reach."""

    kind: Kind
    group: str | None = None
    filter: str | None = None
    negated: bool = False  # reaches those that the filter does not match
    how: str = ""

    @classmethod
    def of(cls, assignment: Assignment) -> "Target | None":
        """Read an entry of Graph's; None for one whose meaning is not known for certain."""
        raw = assignment.get("target")
        if not isinstance(raw, Mapping):
            return None
        kind = _kind(raw)
        if kind is None:
            return None
        group, mode = raw.get(GROUP_ID), raw.get(FILTER_TYPE) or "none"
        filter_id = raw.get(FILTER_ID)
        named = isinstance(filter_id, str) and filter_id not in ("", NO_FILTER)
        if kind.names_a_group and not (isinstance(group, str) and group):
            return None
        if mode not in ("none", "include", "exclude") or (mode != "none" and not named):
            return None
        return cls(
            kind,
            group if kind.names_a_group else None,
            filter_id if mode != "none" else None,
            mode == "exclude",
            _how(assignment, raw),
        )

    @property
    def excludes(self) -> bool:
        """True for a target that takes principals away."""
        return self.kind is Kind.EXCLUDED_GROUP

    @property
    def base(self) -> tuple[Kind, str | None]:
        """Whom it names, before its filter."""
        return self.kind, self.group

    def covers(self, other: "Target") -> bool:
        """Tell whether an include reaches all that `other` does, in the same way, whatever group and filter hold."""
        same = (self.base, self.how) == (other.base, other.how)
        return same and (self.filter is None or (self.filter, self.negated) == (other.filter, other.negated))

    def takes_away(self, other: "Target") -> bool:
        """Tell whether an exclusion leaves nothing of the include `other`."""
        return self.filter is None and (self.group, self.how) == (other.group, other.how)


def targets_of(assignments: Iterable[Assignment]) -> list[Target] | None:
    """Read a list; None if the meaning of any entry is not known for certain."""
    read = [Target.of(one) for one in assignments]
    known = [one for one in read if one is not None]
    return known if len(known) == len(read) else None


def is_within(planned: Sequence[Target], backed_up: Sequence[Target]) -> bool:
    """Tell whether `planned` reaches nobody that `backed_up` does not, whoever is in the groups and filters.

    That is so if and only if, for each include of `planned` of which its own exclusions leave anything,

    - some include of `backed_up` covers it, or one by a filter and one by the same filter negated do together; and
    - whatever `backed_up` excludes, `planned` excludes as well.

    "Only if" holds for lists whose entries do not differ in `how` and whose exclusions have no filter. Otherwise the
    answer errs towards False: Graph does not say whether an exclusion counts for entries that say another `how`.
    """
    excluded = {one for one in planned if one.excludes}
    included = [
        one for one in planned if not one.excludes and not any(exclusion.takes_away(one) for exclusion in excluded)
    ]
    if not included:
        return True
    if not {one for one in backed_up if one.excludes} <= excluded:
        return False
    granted = [one for one in backed_up if not one.excludes]
    return all(_is_granted(one, granted) for one in included)


def translated(targets: Iterable[Target], groups: Mapping[str, str], filters: Mapping[str, str]) -> list[Target]:
    """Return the targets in the words of another tenant, as far as the maps from ids to that tenant's ids are certain.

    An id without a counterpart stays apart from every id of the tenant: nothing is known of who is in it there. So do
    ids that share one: at least one of them means somebody else.
    """
    own_group, own_filter = _certain(groups), _certain(filters)
    return [
        replace(
            one,
            group=None if one.group is None else own_group.get(one.group, _NOWHERE + one.group),
            filter=None if one.filter is None else own_filter.get(one.filter, _NOWHERE + one.filter),
        )
        for one in targets
    ]


def group_ids(assignments: Iterable[Assignment]) -> list[str]:
    """Return the groups that the assignments name, each once, in order."""
    found = (one.get("target") for one in assignments)
    targets = [target for target in found if isinstance(target, Mapping)]
    named = {target.get(GROUP_ID) for target in targets if (kind := _kind(target)) and kind.names_a_group}
    return sorted(group for group in named if isinstance(group, str) and group)


def _is_granted(one: Target, granted: Sequence[Target]) -> bool:
    if any(grant.covers(one) for grant in granted):
        return True
    halves = {(grant.filter, grant.negated) for grant in granted if (grant.base, grant.how) == (one.base, one.how)}
    return any((filter_id, not negated) in halves for filter_id, negated in halves)


def _certain(ids: Mapping[str, str]) -> dict[str, str]:
    sharers = Counter(ids.values())
    return {own: other for own, other in ids.items() if sharers[other] == 1}


def _kind(target: Mapping[str, Any]) -> Kind | None:
    name = str(target.get(_TYPE)).removeprefix("#").removeprefix("microsoft.graph.")
    return Kind(name) if name in set(Kind) else None


def _how(assignment: Assignment, target: Mapping[str, Any]) -> str:
    own = {key: value for key, value in assignment.items() if value is not None and "@" not in key}
    beside = {key: value for key, value in own.items() if key not in _SERVER_MADE}
    within = {key: value for key, value in target.items() if key not in _READ and value is not None}
    return json.dumps([beside, within], sort_keys=True, separators=(",", ":")) if beside or within else ""
