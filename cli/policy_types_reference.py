"""Every policy type as a page: `python -m cli.policy_types_reference > docs/reference/policy-types.md`.

A test keeps both together.
"""

import sys
from collections.abc import Iterable, Iterator

from shared.connectors.normalise import COMMON_REFERENCES
from shared.connectors.policy_types import REFERRED_ONLY, PolicyType, Refers, RestoreMode, all_types


def page() -> str:
    """Return the page as it is committed."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    yield "# Policy types"
    yield ""
    yield "Generated from `shared/connectors/policy_types/`; do not edit. To write it again:"
    yield "`python -m cli.policy_types_reference > docs/reference/policy-types.md`."
    yield ""
    yield "In the order of a restore. What is preview-only is backed up, compared and shown, and never written. Any"
    yield "other object is refused with `policy.type_unknown`. How to [add one](../how-to/add-a-policy-type.md)."
    yield ""
    yield "| key | name | collection | restore | risk | assigned | identity beside the id | refers to |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for one in all_types():
        mode = "preview only" if one.restore_mode is RestoreMode.PREVIEW_ONLY else f"written, {one.phase}"
        assigned = "yes" if one.assigning else "no"
        cells = (
            f"`{one.key}`",
            one.label,
            f"`{one.collection}`",
            mode,
            one.risk,
            assigned,
            _identity(one),
            _named(one),
        )
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield "## What they refer to"
    yield ""
    yield f"Any type may refer to {_listed(COMMON_REFERENCES)}; assignments refer to groups and `assignmentFilter`."
    yield "These ids differ from tenant to tenant: a restore puts the tenant's own in their place, or does not write."
    yield ""
    yield "What follows is referred to and is no policy type: it is never captured and never restored, and is found by"
    yield "its id or by what identifies it beside the id."
    yield ""
    yield "| key | name | collection | identity beside the id |"
    yield "| --- | --- | --- | --- |"
    for one in REFERRED_ONLY.values():
        yield f"| `{one.key}` | {one.label} | `{one.collection}` | {_identity(one)} |"


def _named(one: PolicyType) -> str:
    return _listed(one.references)


def _listed(references: Iterable[Refers]) -> str:
    return ", ".join(dict.fromkeys(f"`{declared.to}`" for declared in references))


def _identity(one: PolicyType) -> str:
    kind = ("`@odata.type`",) if one.polymorphic else ()
    return ", ".join((*kind, *(f"`{name}`" for name in (one.name_field, *one.natural_fields))))


if __name__ == "__main__":
    sys.stdout.write(page())
