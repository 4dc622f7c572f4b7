"""Every policy type as a page: `python -m cli.policy_types_reference > docs/reference/policy-types.md`.

A test keeps both together.
"""

import sys
from collections.abc import Iterator

from shared.connectors.policy_types import PolicyType, RestoreMode, all_types


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
    yield "| key | name | collection | restore | risk | assigned | identity beside the id |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for one in all_types():
        mode = "preview only" if one.restore_mode is RestoreMode.PREVIEW_ONLY else f"written, {one.phase}"
        assigned = "yes" if one.assigning else "no"
        yield (
            f"| `{one.key}` | {one.label} | `{one.collection}` | {mode} | {one.risk} | {assigned} | {_identity(one)} |"
        )


def _identity(one: PolicyType) -> str:
    kind = ("`@odata.type`",) if one.polymorphic else ()
    return ", ".join((*kind, *(f"`{name}`" for name in (one.name_field, *one.natural_fields))))


if __name__ == "__main__":
    sys.stdout.write(page())
