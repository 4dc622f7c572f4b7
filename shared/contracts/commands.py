"""Commands: imperative, one receiver, published by upstream systems to the exchange `commands`."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, model_validator

from shared.contracts.base import Contract
from shared.domain.restore_options import (
    MAX_TARGETS,
    SUFFIX_LIMIT,
    TARGET_LIMIT,
    Assignments,
    Match,
    RestoreOptions,
    chosen,
)
from shared.domain.runs import Lane, RunType

MAX_SELECTION = 100_000  # ids in one explicit selection

Name = Annotated[str, Field(min_length=1, max_length=200)]
Word = Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,63}$")]
PolicyTypeKey = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]{0,63}$")]

PlanHash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RemoteId = Annotated[str, Field(min_length=1, max_length=TARGET_LIMIT)]


class Selector(Contract):
    """A selection by rule instead of by ids; evaluated when the run starts."""

    all: bool = Field(default=False, description="everything there is")
    policy_types: tuple[PolicyTypeKey, ...] = Field(default=(), max_length=100, description="only these types")

    @model_validator(mode="after")
    def _says_something(self) -> "Selector":
        if self.all == bool(self.policy_types):
            raise ValueError("give either all=true or policy_types")
        return self


class Start(Contract):
    """What every start carries beside its own fields."""

    version: Literal[1] = 1
    tenant_id: UUID
    item_ids: tuple[UUID, ...] | None = Field(default=None, max_length=MAX_SELECTION)
    selector: Selector | None = None
    requested_by: Name | None = Field(default=None, description="who asks, as people should read it")
    initiator_id: UUID | None = Field(default=None, description="the user to notify; None for systems")
    lane: Lane | None = None
    deadline_at: datetime | None = Field(default=None, description="with a time zone; past it the run fails")
    not_before: datetime | None = Field(default=None, description="with a time zone; until then the run waits")

    @model_validator(mode="after")
    def _one_selection(self) -> "Start":
        if self.item_ids is not None and self.selector is not None:
            raise ValueError("give item_ids or selector, not both")
        for name, moment in (("deadline_at", self.deadline_at), ("not_before", self.not_before)):
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"{name} needs a time zone")
        return self


class RestoreChoices(Contract):
    """What a preview plans with; its execution takes it over."""

    match: Match = Field(
        default=Match.OVERWRITE,
        description="what becomes of live objects that backup items correspond to: `overwrite` them, leave them alone "
        "and create what is gone (`create_only`), update those whose state was captured (`update_if_unchanged`), or "
        "create a `copy` beside them (policies only)",
    )
    assignments: Assignments | None = Field(
        default=None, description="`with` (default), `without` (default of a copy), or `only` these"
    )
    copy_suffix: str | None = Field(
        default=None, min_length=1, max_length=SUFFIX_LIMIT, description="of a copy's name; ` (restored)` by default"
    )
    targets: dict[UUID, RemoteId] = Field(
        default_factory=dict,
        max_length=MAX_TARGETS,
        description="backup item to the id of the live object that is meant; tells homonyms apart",
    )

    def options(self) -> RestoreOptions:
        """Return the choices; raise `PermanentError(REQUEST_INVALID)` where they contradict each other."""
        return chosen(self.match, self.assignments, self.copy_suffix, self.targets)


class StartRestoreRun(Start):
    """Start a preview of a backup set (the default), or execute the plan of a finished preview."""

    is_dry_run: bool = True
    backup_set_id: UUID | None = Field(default=None, description="of a preview")
    preview_run_id: UUID | None = Field(default=None, description="of an execution: the preview to carry out")
    options: RestoreChoices | None = Field(default=None, description="of a preview; its execution has none of its own")
    plan_hash: PlanHash | None = Field(
        default=None, description="of an execution: the plan that was looked at; refused when the preview has another"
    )


class StartBulkOperationRun(Start):
    """Start a bulk operation: `resource.action`, as in the table of operations."""

    resource: Word
    action: Word
    target_id: UUID | None = Field(default=None, description="the policy or backup set that the action is about")
    name: Name | None = Field(default=None, description="a name for what is made, such as a backup set")


class AbortRun(Contract):
    """Ask a run to stop between two items. What was done stays done."""

    version: Literal[1] = 1
    tenant_id: UUID
    run_type: RunType
    run_id: UUID
    requested_by: Name | None = None
    initiator_id: UUID | None = None


def canonical_request(command: Contract) -> dict[str, Any]:
    """Return the parts of a start that make two requests the same, ready for hashing."""
    return command.model_dump(mode="json", exclude={"version", "requested_by", "initiator_id"}, exclude_none=True)
