"""Which of Graph's limits a call counts towards, and what those limits are."""

from collections.abc import Mapping, Sequence

from shared.connectors.policy_types import all_types
from shared.connectors.policy_types.model import ThrottleClass
from shared.domain.budget import Limit

INTUNE_WRITE = "intune.write"
INTUNE_ANY = "intune.any"
IDENTITY = "identity"
CONDITIONAL_ACCESS = "conditional_access"

# As published, for one app in one tenant. They change: the first two are settings, and a refusal lowers what we allow.
WRITES = 100
REQUESTS = 1000
_INTUNE_WINDOW = 20.0
_IDENTITY = Limit(3500, 10.0)  # of the smallest tenants
_CONDITIONAL_ACCESS = Limit(1, 1.0)
DEFAULT_SHARE = 0.95
_GROUPS = "groups"

_CLASSES: Mapping[ThrottleClass, tuple[Sequence[str], Sequence[str]]] = {
    ThrottleClass.INTUNE: ((INTUNE_ANY,), (INTUNE_WRITE, INTUNE_ANY)),
    ThrottleClass.IDENTITY: ((IDENTITY,), (IDENTITY,)),
    ThrottleClass.CONDITIONAL_ACCESS: ((CONDITIONAL_ACCESS,), (CONDITIONAL_ACCESS,)),
}


def graph_limits(
    share: float = DEFAULT_SHARE, *, writes: int = WRITES, requests: int = REQUESTS
) -> Mapping[str, Limit]:
    """Return the limit of each class: `share` of the published one, the rest being a margin."""
    return {
        INTUNE_WRITE: Limit(writes * share, _INTUNE_WINDOW, announced=True),
        INTUNE_ANY: Limit(requests * share, _INTUNE_WINDOW),
        IDENTITY: Limit(_IDENTITY.count * share, _IDENTITY.seconds),
        CONDITIONAL_ACCESS: Limit(_CONDITIONAL_ACCESS.count * share, _CONDITIONAL_ACCESS.seconds),
    }


def classes_of(verb: str, path: str) -> Sequence[str]:
    """Return the classes that a call counts towards, the narrowest first; `path` is below the API version.

    A path that no policy type declares counts as Intune's, but for the directory's groups.
    """
    if _below(_GROUPS, path):
        return (IDENTITY,)
    owners = [one for one in all_types() for root in (one.collection, one.list_collection) if _below(root, path)]
    reading, writing = _CLASSES[owners[0].throttle if owners else ThrottleClass.INTUNE]
    return reading if verb == "GET" else writing


def _below(root: str, path: str) -> bool:
    return bool(root) and (path == root or path.startswith((f"{root}/", f"{root}?", f"{root}(")))
