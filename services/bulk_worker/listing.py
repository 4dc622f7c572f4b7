"""Listing a type: always whole, or an error that says why not."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.connectors.port import CallTag, PolicyRef, TenantReader
from shared.domain.errors import PermanentError, RunFatalError, SafeCode


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
