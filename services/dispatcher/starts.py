"""Takes starts: those that come at the same time share a transaction (ADR 23)."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Protocol, TypeAlias, TypeVar
from uuid import UUID

import structlog

from services.dispatcher.handlers import Request, Source, Started, start_run
from services.dispatcher.ports import StartTransaction, StartUnitOfWork
from services.dispatcher.quotas import NO_QUOTA, RunQuota
from shared.contracts.commands import Start
from shared.domain.errors import ReinstateError
from shared.domain.freshness import PREVIEW_AGE
from shared.runtime.batching import Batcher

log = structlog.get_logger(__name__)

MAX_TOGETHER = 64  # starts that share a transaction
LONG_SELECTION = 500  # ids; who brings more of them has a transaction of its own, and keeps nobody waiting
PATIENCE = 0.25  # seconds that others gather behind a lone start; one that takes longer waits for somebody else's lock

# Of a start that shared a transaction, or did not (None): then it has to be taken by itself. A task: it is under way.
Outcome: TypeAlias = Started | ReinstateError | asyncio.Task[Started] | None
R = TypeVar("R")
Work: TypeAlias = tuple[UUID, Callable[[StartTransaction], Awaitable[R]]]  # a tenant, and what to do for it


class SharedUnitOfWork(StartUnitOfWork, Protocol):
    """Opens transactions that the work of several tenants may share."""

    async def together(self, chains: Sequence[Sequence[Work[R]]]) -> list[list[R | ReinstateError]]:
        """Do chains of works at the same time, the works of each chain in turn; all of it is one transaction.

        Returns what each work led to, or why it was refused, which undoes that work alone. Whatever else goes wrong is
        raised, and then nothing was done.
        """
        ...


class Starts:
    """The way of every start, whichever door it came through.

    A start that finds nobody goes off at once. Those that come meanwhile gather until its commit and go together. What
    goes wrong for all of them is tried again for each by itself, so that nobody's trouble is another's.
    """

    def __init__(
        self,
        uow: SharedUnitOfWork,
        *,
        preview_age: timedelta = PREVIEW_AGE,
        at_once: int = MAX_TOGETHER,
        quota: RunQuota = NO_QUOTA,
    ) -> None:
        """Have at most `at_once` starts share a transaction, and no tenant have more runs than its quota."""
        self._quota = quota
        self._uow = uow
        self._preview_age = preview_age
        self._batcher: Batcher[Request, Outcome] = Batcher(self._take, max_items=at_once, max_wait=0)

    async def start(self, command: Start, source: Source) -> Started:
        """Start what the command asks for; return when it is committed. Raises as `start_run` does.

        Then nothing was stored. A caller that is cancelled may have started it all the same.
        """
        request = Request.read(command, source, may_create=await self._quota.admits(command.tenant_id))
        outcome = None if _is_long(command) else await self._batcher.submit(request)
        match outcome:
            case None:
                return await self._alone(request)
            case asyncio.Task():
                return await outcome
            case ReinstateError():
                raise outcome
        return outcome

    async def aclose(self) -> None:
        """Finish what is under way and take nothing more."""
        await self._batcher.aclose()

    async def _take(self, requests: Sequence[Request]) -> Sequence[Outcome]:
        if len(requests) == 1:
            return [await self._only(requests[0])]
        chains = _chained(requests)
        works = [[(one.command.tenant_id, partial(self._start, one)) for one in chain] for chain in chains]
        try:
            results = await self._uow.together(works)
        except Exception as error:  # noqa: BLE001  whatever it is, each start meets what is its own by itself
            log.warning("starts.parted", count=len(requests), kind=type(error).__name__)
            return [None] * len(requests)
        outcomes = {
            id(request): outcome
            for chain, of_chain in zip(chains, results, strict=True)
            for request, outcome in zip(chain, of_chain, strict=True)
        }
        return [outcomes[id(request)] for request in requests]

    async def _only(self, request: Request) -> Outcome:
        task = asyncio.create_task(self._alone(request))
        await asyncio.wait({task}, timeout=PATIENCE)
        if not task.done():
            return task
        try:
            return task.result()
        except ReinstateError as error:
            return error

    async def _alone(self, request: Request) -> Started:
        async with self._uow.begin(request.command.tenant_id) as tx:
            return await self._start(request, tx)

    async def _start(self, request: Request, tx: StartTransaction) -> Started:
        return await start_run(request, tx, self._preview_age)


def _is_long(command: Start) -> bool:
    return command.item_ids is not None and len(command.item_ids) > LONG_SELECTION


def _chained(requests: Sequence[Request]) -> list[list[Request]]:
    """Put copies of one request behind each other: the second one is told what the first one led to."""
    chains: dict[object, list[Request]] = defaultdict(list)
    for request in requests:
        source = request.source
        named = (request.command.tenant_id, source.door, source.request_id)
        chains[named if source.request_id is not None else id(request)].append(request)
    return list(chains.values())
