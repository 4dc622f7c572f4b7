"""Who may do what, as a page: `python -m cli.capabilities_reference > docs/reference/capabilities.md`."""

import sys
from collections.abc import Iterator

from fastapi import FastAPI

from services.dispatcher.app import create_app
from services.dispatcher.needs import Guarded, MemberNeed, OpenNeed, guarded_routes
from shared.domain.capabilities import Capability, Role
from shared.domain.denials import DENIALS
from shared.domain.error_texts import ERROR_TEXTS
from shared.domain.operations import OPERATIONS


def page(app: FastAPI | None = None) -> str:
    """Return the page; a test compares it with the committed one."""
    return "\n".join(_page(list(guarded_routes(app or create_app())))) + "\n"


def _page(routes: list[Guarded]) -> Iterator[str]:
    yield "# Capabilities"
    yield ""
    yield "Generated from `shared/domain/capabilities.py` and the dispatcher's routes; do not edit. To write it again:"
    yield "`python -m cli.capabilities_reference > docs/reference/capabilities.md`."
    yield ""
    yield "Nobody may do what is not named here. Without a valid token every answer is 401; who does not belong to"
    yield "a tenant finds nothing there, 404; a member whose role lacks the capability is told so, 403."
    yield ""
    yield "## Roles\n"
    yield f"| capability | lets somebody | {' | '.join(Role)} | operations |"
    yield f"| --- | --- | {' | '.join('---' for _ in Role)} | --- |"
    for capability in Capability:
        has = " | ".join("yes" if role.may(capability) else "" for role in Role)
        starts = ", ".join(f"`{one.name}`" for one in OPERATIONS.values() if one.capability is capability)
        yield f"| `{capability.value}` | {capability.text} | {has} | {starts} |"
    yield ""
    yield "What ends with `.own` needs no role: everybody who is signed in has it. Routes under `/console` take the"
    yield "console's cookie and no token, all others a token and no cookie."
    yield ""
    yield "## Routes\n"
    yield "Of several capabilities a route takes the one of the operation that is started, or of the run's."
    yield ""
    yield "| route | needs |"
    yield "| --- | --- |"
    for route in routes:
        yield f"| `{route.method} {route.path}` | {_need(route)} |"
    yield ""
    yield "## When a run is taken up\n"
    yield "Who started a run, and its tenant, are looked at again when a worker takes it up. A run that is denied"
    yield "before it begins ends `failed` with the code and its class, and is audited as `blocked`. Of a run without an"
    yield "initiator, of a schedule or an upstream system, only the tenant is looked at."
    yield ""
    yield "| code | class | may be mended | meaning |"
    yield "| --- | --- | --- | --- |"
    for code, denial in DENIALS.items():
        mended = "yes" if denial.is_retryable else ""
        yield f"| `{code.value}` | {denial.value} | {mended} | {ERROR_TEXTS[code].title} |"


def _need(route: Guarded) -> str:
    if isinstance(route.need, OpenNeed):
        return "nothing: the platform asks"
    named = " or ".join(f"`{capability.value}`" for capability in route.need.capabilities)
    return named if isinstance(route.need, MemberNeed) else f"{named}, in any tenant"


if __name__ == "__main__":
    sys.stdout.write(page())
