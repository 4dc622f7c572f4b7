"""The changes between two normal forms as people read them."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType

from shared.connectors.policy_types.model import PolicyType
from shared.connectors.policy_types.registry import declaration
from shared.connectors.port import Json
from shared.connectors.wording import catalog
from shared.connectors.wording.assignments import compare_assignments
from shared.connectors.wording.forms import compare
from shared.connectors.wording.model import Change, Kind, Wording
from shared.connectors.wording.places import Place

NO_NAMES: Mapping[str, str] = MappingProxyType({})
_ABOUT_IT = frozenset({"@odata.type", "description", "roleScopeTagIds", "roleScopeTags", "templateReference"})


def changes_in_words(
    policy_type: PolicyType | str,
    live: Json | None,
    backup: Json | None,
    *,
    live_assignments: Sequence[Json] | None = None,
    backup_assignments: Sequence[Json] | None = None,
    names: Mapping[str, str] = NO_NAMES,
) -> Wording:
    """Say what leads from the live normal form to the backup's, and from its normalised assignments to the backup's.

    A side that is None does not exist: the object is told in one line, with the number of its settings. Assignments are
    compared if one side gives some. `names` holds names by id: of groups, filters, scope tags, also of definitions and
    choices of the settings catalog. Equal sides give no line and different ones at least one; with the sides exchanged
    each line is mirrored. What is masked, or goes by the name of a secret, is never said.
    """
    place = Place(declaration(policy_type), names)
    try:
        return Wording.of(chain(_changes(place, live, backup), _assigned(place, live_assignments, backup_assignments)))
    except RecursionError:
        return Wording.of([place.line(Kind.CHANGED, "too deep to show", "too deep to show")])


def _changes(place: Place, live: Json | None, backup: Json | None) -> Iterator[Change]:
    if live is not None and backup is not None:
        yield from compare(place, live, backup)
    elif backup is not None:
        yield place.line(Kind.ADDED, None, _whole(place.one, backup))
    elif live is not None:
        yield place.line(Kind.REMOVED, _whole(place.one, live), None)


def _assigned(place: Place, live: Sequence[Json] | None, backup: Sequence[Json] | None) -> Iterator[Change]:
    yield from compare_assignments(place, live or (), backup or ())


def _whole(one: PolicyType, form: Json) -> str:
    """Return `with 43 settings`: those of the catalog at every depth, or the keys that configure something."""
    number = catalog.count(form.get("settings")) or len(form.keys() - _ABOUT_IT - {one.name_field, *one.natural_fields})
    return f"with {number} {'setting' if number == 1 else 'settings'}"
