"""Who can do something about an error, and the name of the family that it belongs to: the rest of the catalogue.

A code acts as its family does unless it is named here.
"""

from enum import StrEnum

from shared.domain.errors import SafeCode


class Actionability(StrEnum):
    """Whose turn it is. Closed: what shows errors may sort by it."""

    NONE = "none"  # nobody's: it is as it should be, or it is tried again by itself
    REPEAT = "repeat"  # the caller's: the same again, later
    REQUEST = "request"  # the caller's: something else has to be asked for
    TENANT = "tenant"  # the tenant's administrator's: a right, a consent, an object there
    OPERATOR = "operator"  # ours: a process, a queue, a setting
    PERSON = "person"  # somebody has to look and decide; nothing is safe to do by itself


FAMILIES: dict[str, tuple[str, Actionability]] = {
    "archive": ("Archives", Actionability.REQUEST),
    "auth": ("Signing in to a tenant", Actionability.TENANT),
    "authz": ("Rights", Actionability.REQUEST),
    "backup_set": ("Backup sets", Actionability.REQUEST),
    "folder": ("Folders of exports", Actionability.REQUEST),
    "graph": ("The tenant's system", Actionability.NONE),
    "internal": ("Defects", Actionability.OPERATOR),
    "key": ("Keys of stored data", Actionability.OPERATOR),
    "message": ("Messages", Actionability.OPERATOR),
    "operation": ("Operations", Actionability.REQUEST),
    "outgoing": ("Calls to systems outside", Actionability.REQUEST),
    "policy": ("Policies", Actionability.REQUEST),
    "queue": ("Queues", Actionability.OPERATOR),
    "quota": ("Quotas", Actionability.REPEAT),
    "rate": ("Rates", Actionability.REPEAT),
    "request": ("Requests", Actionability.REQUEST),
    "resource": ("Resources", Actionability.REQUEST),
    "restore": ("Restores", Actionability.PERSON),
    "run": ("Runs", Actionability.REQUEST),
    "scope": ("Tenants", Actionability.REQUEST),
    "selection": ("Selections", Actionability.REQUEST),
    "service": ("Services", Actionability.REPEAT),
    "signature": ("Signatures of commands", Actionability.OPERATOR),
    "snapshot": ("Snapshots", Actionability.PERSON),
    "tenant": ("Connections of tenants", Actionability.TENANT),
    "topology": ("Topology of the broker", Actionability.OPERATOR),
    "upstream": ("Upstream systems", Actionability.OPERATOR),
}

_OTHERWISE: dict[SafeCode, Actionability] = {
    SafeCode.GRAPH_BAD_REQUEST: Actionability.PERSON,
    SafeCode.GRAPH_NOT_FOUND: Actionability.REQUEST,
    SafeCode.GRAPH_CONFLICT: Actionability.REQUEST,
    SafeCode.AUTHZ_TENANT_MISSING: Actionability.NONE,
    SafeCode.AUTHZ_TENANT_NOT_OPERABLE: Actionability.OPERATOR,
    SafeCode.BACKUP_SET_ITEM_ALREADY_IN_SET: Actionability.NONE,
    SafeCode.OUTGOING_NO_ANSWER: Actionability.NONE,
    SafeCode.POLICY_NOT_CANONICAL: Actionability.TENANT,
    SafeCode.RESTORE_PREVIEW_REQUIRED: Actionability.REQUEST,
    SafeCode.RESTORE_PLAN_CHANGED: Actionability.REQUEST,
    SafeCode.RESTORE_PREVIEW_STALE: Actionability.REQUEST,
    SafeCode.RESTORE_EXISTS_ALREADY: Actionability.NONE,
    SafeCode.RESTORE_NOT_CONFIRMED: Actionability.REQUEST,
    SafeCode.RESTORE_BLOCKED: Actionability.REQUEST,
    SafeCode.RUN_STALE_QUEUED: Actionability.OPERATOR,
    SafeCode.RUN_STALE_RUNNING: Actionability.OPERATOR,
    SafeCode.RUN_STILL_ACTIVE: Actionability.REPEAT,
    SafeCode.SNAPSHOT_MISSING: Actionability.REQUEST,
    SafeCode.SNAPSHOT_TOO_LARGE: Actionability.REQUEST,
    SafeCode.TENANT_SHREDDED: Actionability.NONE,
}


def actionability_of(code: SafeCode) -> Actionability:
    """Say whose turn it is."""
    return _OTHERWISE.get(code) or FAMILIES[code.family][1]


def label_of(family: str) -> str:
    """Name a family for people."""
    return FAMILIES[family][0]
