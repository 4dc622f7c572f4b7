"""The nudge that moves a run: it carries ids, the row carries the truth."""

from typing import Literal
from uuid import UUID

from shared.contracts.base import Contract
from shared.domain.runs import Lane, RunType


class WakeUp(Contract):
    """Work a slice of this run. Lost, late or doubled, it changes nothing but the time."""

    version: Literal[1] = 1
    tenant_id: UUID
    run_type: RunType
    run_id: UUID
    lane: Lane
