"""What is known of objects that policies refer to and no backup holds, such as apps: a restore finds them by it."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import structlog

from shared.connectors.policy_types import REFERRED_ONLY
from shared.connectors.port import CallTag, PolicyRef, RemotePolicy, TenantReader
from shared.connectors.references import payload_references
from shared.domain.errors import PermanentError, RunFatalError, SafeCode
from shared.domain.referred import Referred

_log = structlog.get_logger(__name__)


class ReferredObjects:
    """Lists each type that is referred to once in a slice. Errors are the connector's, but for those that refuse it."""

    def __init__(self, reader: TenantReader) -> None:
        """Know nothing yet."""
        self._reader = reader
        self._known: dict[str, Mapping[str, Referred]] = {}
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def of(self, policy: RemotePolicy, tag: CallTag) -> Sequence[Referred]:
        """Return what is known of the objects that the policy refers to; nothing of those that are gone."""
        named = sorted(payload_references(policy.ref.policy_type, policy.payload))
        found = [(await self._all(kind, tag)).get(one) for kind, one in named if kind in REFERRED_ONLY]
        return [one for one in found if one is not None]

    async def _all(self, kind: str, tag: CallTag) -> Mapping[str, Referred]:
        async with self._turns[kind]:
            if kind not in self._known:
                self._known[kind] = _by_id(await self._listed(kind, tag))
            return self._known[kind]

    async def _listed(self, kind: str, tag: CallTag) -> Sequence[PolicyRef]:
        try:
            return [ref async for ref in self._reader.list_refs(kind, tag)]
        except (PermanentError, RunFatalError) as error:  # the capture stays whole without them
            if isinstance(error, RunFatalError) and error.code is not SafeCode.AUTH_PERMISSION_MISSING:
                raise
            _log.warning("capture.referred_not_told", code=error.code, policy_type=kind)
            return []


def _by_id(refs: Sequence[PolicyRef]) -> Mapping[str, Referred]:
    bearers = Counter(ref.natural_key for ref in refs)
    return {
        ref.remote_id: Referred(
            ref.policy_type, ref.remote_id, ref.display_name, ref.natural_key, bearers[ref.natural_key] > 1
        )
        for ref in refs
        if ref.display_name
    }
