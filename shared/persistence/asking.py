"""How repositories ask the database: alone, or together with others who ask the same kind of question (ADR 23).

A kind of question is answered for any number of them by one statement. So whoever works alone and whoever shares a
transaction go through the same SQL, and the use case above is written once.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast

from sqlalchemy.ext.asyncio import AsyncConnection

Q = TypeVar("Q")
A = TypeVar("A")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Kind(Generic[Q, A]):
    """A kind of question. `answer` gets at least one and returns an answer for each, in the same order."""

    name: str  # in a round, kinds take their turn by name: everybody locks in the same order
    answer: Callable[[AsyncConnection, Sequence[Q]], Awaitable[Sequence[A]]]
    changes: bool = False  # rows, which only a rollback of the whole transaction takes back
    is_conditional: bool = False  # where the answer is None, it changed nothing


class Asking(Protocol):
    """Who asks, inside one transaction."""

    is_shared: bool  # with others, who wait until all is done

    @property
    def connection(self) -> AsyncConnection:
        """The connection, for statements of which only one is under way at a time."""
        ...

    async def ask(self, kind: Kind[Q, A], question: Q) -> A:
        """Return the answer to one question."""
        ...


class Alone:
    """Has the transaction to itself."""

    def __init__(self, connection: AsyncConnection) -> None:
        """Ask inside `connection`'s transaction."""
        self.connection = connection
        self.is_shared = False

    async def ask(self, kind: Kind[Q, A], question: Q) -> A:
        """Ask at once."""
        [answer] = await kind.answer(self.connection, [question])
        return answer


class Member:
    """One of several whose questions go to the database in rounds."""

    def __init__(self, rounds: "Rounds") -> None:
        """Ask in these rounds."""
        self._rounds = rounds
        self.is_shared = True
        self.has_changed = False

    @property
    def connection(self) -> AsyncConnection:
        """The connection as far as it executes statements: each one with the next round, behind those of the others."""
        return cast("AsyncConnection", _InTurn(self))

    async def ask(self, kind: Kind[Q, A], question: Q) -> A:
        """Ask with the next round."""
        answer = await self._rounds.ask(kind, question)
        self.has_changed = self.has_changed or (kind.changes and not (kind.is_conditional and answer is None))
        return answer


Statement: TypeAlias = Callable[[AsyncConnection], Awaitable[Any]]


async def _each(connection: AsyncConnection, statements: Sequence[Statement]) -> list[Any]:
    return [await execute(connection) for execute in statements]


_EACH: Kind[Statement, Any] = Kind("~each", _each, changes=True)  # for all we know


class _InTurn:
    """Executes a member's statements that are no kind of question, one after another."""

    def __init__(self, member: Member) -> None:
        self._member = member

    async def execute(self, *given: Any) -> Any:  # noqa: ANN401  as `AsyncConnection`
        return await self._member.ask(_EACH, lambda connection: connection.execute(*given))

    async def scalar(self, *given: Any) -> Any:  # noqa: ANN401  as `AsyncConnection`
        return await self._member.ask(_EACH, lambda connection: connection.scalar(*given))

    async def scalars(self, *given: Any) -> Any:  # noqa: ANN401  as `AsyncConnection`
        return await self._member.ask(_EACH, lambda connection: connection.scalars(*given))


_Waiting: TypeAlias = "defaultdict[Kind[Any, Any], list[tuple[Any, asyncio.Future[Any]]]]"


class Rounds:
    """Members work at the same time; once all of them wait for an answer, each kind of question goes off as one."""

    def __init__(self, connection: AsyncConnection) -> None:
        """Ask inside `connection`'s transaction."""
        self._connection = connection
        self._waiting: _Waiting = defaultdict(list)
        self._busy = 0
        self._at_rest = asyncio.Event()

    async def ask(self, kind: Kind[Q, A], question: Q) -> A:
        """Return the answer from the next round."""
        answered: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting[kind].append((question, answered))
        self._rest()
        return await answered

    async def work(self, members: Sequence[Coroutine[Any, Any, R]]) -> list[R]:
        """Let the members work and answer what they ask; return their results.

        What a statement or a member raises ends the work of all, and is raised.
        """
        self._busy = len(members)
        tasks = [asyncio.create_task(self._one(member)) for member in members]
        try:
            while True:
                await self._at_rest.wait()
                self._at_rest.clear()
                has_failed = any(task.done() and task.exception() for task in tasks)
                if has_failed or not self._waiting:  # nobody asks: all of them are done
                    return await asyncio.gather(*tasks)
                await self._round()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, member: Coroutine[Any, Any, R]) -> R:
        try:
            return await member
        finally:
            self._rest()

    def _rest(self) -> None:
        self._busy -= 1
        if self._busy == 0:
            self._at_rest.set()

    async def _round(self) -> None:
        """Ask everything that waits. Nobody goes on before all is answered, so that the next round is whole again."""
        waiting, self._waiting = self._waiting, defaultdict(list)
        answers: list[tuple[asyncio.Future[Any], Any]] = []
        for kind in sorted(waiting, key=lambda kind: kind.name):
            questions = [question for question, _ in waiting[kind]]
            futures = [answered for _, answered in waiting[kind]]
            answers += zip(futures, await kind.answer(self._connection, questions), strict=True)
        self._busy = len(answers)
        for answered, answer in answers:
            answered.set_result(answer)
