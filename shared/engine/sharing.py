"""Lets small pieces of work share a transaction: those that come together cost about as much as one (ADR 32)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Protocol, TypeAlias
from uuid import UUID

import structlog

from shared.domain.errors import CommitUnheard, ReinstateError
from shared.engine.work import EngineTransaction
from shared.runtime.batching import Batcher

log = structlog.get_logger(__name__)

MAX_TOGETHER = 64
PATIENCE = 0.25  # seconds that others gather behind a lone one; one that takes longer waits for somebody else's lock

Do: TypeAlias = Callable[[EngineTransaction], Awaitable[Any]]
Piece: TypeAlias = tuple[UUID, Do]  # a tenant, and what to do for it
_PARTED = object()  # instead of an outcome: it has to be done alone


class EngineUnitOfWork(Protocol):
    """Opens transactions that can write the ledger."""

    def begin(self, tenant_id: UUID) -> AbstractAsyncContextManager[EngineTransaction]:
        """Begin a transaction for one tenant."""
        ...

    async def together(self, chains: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """Do `Piece`s at the same time, those of each chain in turn; all of it is one transaction.

        Returns what each led to, or the `ReinstateError` with which it refused before it changed anything. Whatever
        else goes wrong is raised, and then nothing was done; but for `CommitUnheard`, where that is not known.
        """
        ...


class Sharing:
    """Does one kind of small work, for any run of the process, in as few transactions as there is company.

    Who finds nobody at work goes at once, alone. Those who come meanwhile gather until that one's commit and go
    together. What goes wrong for all of them is tried again for each by itself, so that nobody's trouble is another's.
    """

    def __init__(self, uow: EngineUnitOfWork, name: str, *, at_once: int = MAX_TOGETHER) -> None:
        """Share transactions of `uow`, each among at most `at_once`; `name` says in the log what is done."""
        self._uow = uow
        self._name = name
        self._lone: asyncio.Event | None = None  # set when the last who went alone is back
        self._batcher: Batcher[Piece, Any] = Batcher(
            self._go_together, max_items=at_once, max_wait=0, before=self._until_back
        )

    async def do(self, tenant_id: UUID, work: Do) -> Any:  # noqa: ANN401  what the work returns
        """Do the work in a transaction; return its result after the commit, or raise what it raised.

        The work may be done again, after a rollback. A caller that is cancelled may have had it done all the same.
        """
        outcome = await self._batcher.submit((tenant_id, work))
        if outcome is _PARTED:
            return await self._go_alone(tenant_id, work)
        if isinstance(outcome, ReinstateError):
            raise outcome
        return outcome

    async def apart(self, tenant_id: UUID, work: Do) -> Any:  # noqa: ANN401  what the work returns
        """Do work that is not small: in a transaction of its own, for which nobody waits."""
        async with self._uow.begin(tenant_id) as tx:
            return await work(tx)

    async def _go_alone(self, tenant_id: UUID, work: Do) -> Any:  # noqa: ANN401  what the work returns
        back = self._lone = asyncio.Event()
        try:
            return await self.apart(tenant_id, work)
        finally:
            back.set()
            if self._lone is back:
                self._lone = None

    async def _until_back(self) -> None:
        if self._lone is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self._lone.wait()

    async def _go_together(self, pieces: Sequence[Piece]) -> Sequence[Any]:
        if len(pieces) == 1:
            return [_PARTED]
        try:
            chains = await self._uow.together([[piece] for piece in pieces])
        except CommitUnheard:  # it may have happened: nobody does it again without knowing
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, each meets what is its own by itself
            log.warning("work.parted", work=self._name, count=len(pieces), kind=type(error).__name__)
            return [_PARTED] * len(pieces)
        return [outcome for [outcome] in chains]
