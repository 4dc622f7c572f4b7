"""What makes two starts the same, and two requests."""

import hashlib
from uuid import UUID

import rfc8785

from services.dispatcher.admission import Asked
from shared.contracts.base import Contract
from shared.contracts.commands import canonical_request
from shared.domain.operations import Target


def identity_key(tenant_id: UUID, asked: Asked) -> str:
    """Return the identity of a start: tenant, operation, target, selection and choices; never the person (ADR 0007)."""
    identity: dict[str, str | None] = {
        "tenant": str(tenant_id),
        "operation": asked.operation.name,
        "target": str(asked.target_id) if asked.target_id else None,
        "selection": selection_hash(asked),
    }
    if "options" in asked.metadata and asked.operation.target is not Target.PREVIEW:  # it has its preview's
        identity["options"] = hashlib.sha256(rfc8785.dumps(asked.metadata["options"])).hexdigest()
    return hashlib.sha256(rfc8785.dumps(dict(identity))).hexdigest()


def selection_hash(asked: Asked) -> str | None:
    """Hash explicit ids, in any order, or the rule; None where nothing was said."""
    if asked.item_ids is not None:
        ids = b"".join(item.bytes for item in sorted(asked.item_ids))
        return hashlib.sha256(b"ids:" + ids).hexdigest()
    if asked.selector is not None:
        rule = rfc8785.dumps([asked.selector.all, *sorted(set(asked.selector.policy_types))])
        return hashlib.sha256(b"rule:" + rule).hexdigest()
    return None


def request_hash(command: Contract) -> str:
    """Hash what a request asks for, whatever its spelling was: who asks is not part of it."""
    return hashlib.sha256(rfc8785.dumps([type(command).__name__, canonical_request(command)])).hexdigest()
