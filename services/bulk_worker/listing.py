"""Listing a type: always whole, or an error that says why not."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.connectors.policy_types import policy_type as declared
from shared.connectors.port import CallTag, PolicyRef, TenantReader
from shared.domain.errors import PermanentError, RunFatalError, SafeCode
from shared.domain.items import Outcome
from shared.ports import Item, ItemResult


@dataclass(frozen=True, slots=True)
class ListedType:
    """A complete listing of one type, to be taken over into the inventory."""

    policy_type: str
    refs: Sequence[PolicyRef]


async def list_type(reader: TenantReader, policy_type: str, tag: CallTag) -> ListedType:
    """List a type to the end; raises as `TenantReader` does.

    A permission that is missing for one collection says nothing about the others: it becomes a `PermanentError`, so
    that the type fails and the run goes on.
    """
    try:
        return ListedType(policy_type, [ref async for ref in reader.list_refs(policy_type, tag)])
    except RunFatalError as error:
        if error.code is not SafeCode.AUTH_PERMISSION_MISSING:
            raise
        raise PermanentError(error.code, **{**error.context, "policy_type": policy_type}) from error


async def listed_item(reader: TenantReader, item: Item, tag: CallTag, *, everything: bool) -> ItemResult:
    """Work the item that stands for a type's listing.

    Where `everything` was asked for, a type whose permission is optional and was not given is left out, and says so;
    whoever names it is told that it failed.
    """
    try:
        listed = await list_type(reader, item.policy_type, tag)
    except PermanentError as error:
        is_missing = error.code is SafeCode.AUTH_PERMISSION_MISSING
        if not (everything and is_missing and declared(item.policy_type).optional_permission):
            raise
        return ItemResult(item.ordinal, Outcome.SKIPPED, error.code, error.context)
    return ItemResult(item.ordinal, Outcome.LISTED, effect=listed)
