"""Refreshing the inventory before a selection by rule is evaluated."""

import asyncio
from collections.abc import Sequence

import structlog

from services.bulk_worker.listing import ListedType, list_type
from services.bulk_worker.operations.base import run_tag
from services.bulk_worker.ports import BulkUnitOfWork
from shared.connectors.port import Connectors, TenantReader
from shared.domain.errors import PermanentError, ThrottledError, TransientError
from shared.engine.work import Slice

_log = structlog.get_logger(__name__)
_AT_A_TIME = 4  # listings of one tenant: as many as items of one run


class Inventory:
    """Lists types and stores what they hold."""

    def __init__(self, uow: BulkUnitOfWork, connectors: Connectors) -> None:
        """Read tenants through `connectors`."""
        self._uow = uow
        self._connectors = connectors

    async def refresh(self, slice_: Slice, types: Sequence[str]) -> list[str]:
        """List every type and take the listings over; return the types that could not be listed now.

        Raises `ThrottledError` and `RunFatalError` at once: they concern every type.
        """
        at_a_time = asyncio.Semaphore(_AT_A_TIME)
        async with self._connectors.reader(slice_.connection) as reader:

            async def one(key: str) -> str | None:
                async with at_a_time:
                    return await self._refresh_one(reader, slice_, key)

            tasks = [asyncio.create_task(one(key)) for key in types]
            try:
                return [key for key in await asyncio.gather(*tasks) if key is not None]
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _refresh_one(self, reader: TenantReader, slice_: Slice, key: str) -> str | None:
        try:
            listed = await list_type(reader, key, run_tag(slice_))
        except ThrottledError:
            raise
        except (TransientError, PermanentError) as error:
            _log.warning("inventory.type_not_listed", policy_type=key, code=error.code)
            return key
        await self._take_over(slice_, listed)
        return None

    async def _take_over(self, slice_: Slice, listed: ListedType) -> None:
        async with self._uow.begin(slice_.run.tenant_id) as tx:
            await tx.ledger.fence(slice_.lease)
            await tx.policies.listed(listed.policy_type, listed.refs)
