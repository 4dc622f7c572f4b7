"""The seal of a plan: a hash over what it was made from, and then over each of its entries in order."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from shared.domain.restore_options import OVERWRITE, RestoreOptions


@dataclass(frozen=True, slots=True)
class PlanBasis:
    """What a plan is made from, beside the tenant: scope, choices and the code that planned."""

    backup_set_id: UUID | None
    planner: str
    item_ids: Sequence[UUID] | None = None  # in any order; None: by `selector`, or everything
    selector: Mapping[str, Any] | None = None
    options: RestoreOptions = OVERWRITE

    def as_bytes(self) -> bytes:
        """Return the same bytes for the same basis, in every process."""
        items = None if self.item_ids is None else sorted({str(item) for item in self.item_ids})
        scope = [str(self.backup_set_id), items, dict(self.selector) if self.selector is not None else None]
        return _line([self.planner, scope, self.options.as_json()])


class PlanSeal:
    """Takes entries one after the other, so that a plan of any size is hashed in little memory."""

    def __init__(self, basis: PlanBasis) -> None:
        """Begin with the basis."""
        self._digest = hashlib.sha256(basis.as_bytes())

    def add(self, item_id: UUID, fields: Sequence[str | None]) -> None:
        """Take the next entry."""
        self._digest.update(_line([str(item_id), *fields]))

    def hexdigest(self) -> str:
        """Return the hash of all so far (64 hex digits)."""
        return self._digest.hexdigest()


def _line(value: Any) -> bytes:  # noqa: ANN401  any JSON value
    """One line per part: no part can be taken for the end of another."""
    return json.dumps(value, sort_keys=True).encode() + b"\n"
