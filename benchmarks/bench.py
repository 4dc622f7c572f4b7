"""What all cases share: the servers, the limits of the same run, the peers, and the order of the rounds."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from benchmarks import limits, statements
from benchmarks.case import Case
from benchmarks.figures import Figures
from benchmarks.options import Options
from benchmarks.peers import Peers
from benchmarks.place import Place
from cli.stack import Stack

_LIMITS_PATIENCE = 180.0  # seconds


class Bench:
    """One measurement. `limits` and `peers` hold what was measured so far."""

    def __init__(self, options: Options, stack: Stack, folder: Path, peers: Peers | None) -> None:
        """Measure on `stack`; `folder` takes the processes' logs."""
        self.options = options
        self.stack = stack
        self.folder = folder
        self.peers = peers
        self.limits = Figures()
        self._places: dict[str, Place] = {}
        self._cleanup = AsyncExitStack()

    @classmethod
    @asynccontextmanager
    async def opened(cls, options: Options, stack: Stack, folder: Path, peers: Peers | None) -> AsyncIterator["Bench"]:
        """Close every place at the end."""
        bench = cls(options, stack, folder, peers)
        async with bench._cleanup:
            yield bench

    def sized(self, full: int, quick: int) -> int:
        """Choose by QUICK."""
        return quick if self.options.quick else full

    async def place(self, name: str) -> Place:
        """Return the place of this name, made at its first use and kept for the later rounds."""
        if name not in self._places:
            place = await self._cleanup.enter_async_context(Place.opened(self.stack, f"bench_{name}"))
            if self.options.profile:
                await statements.begin(place.connection)
            self._places[name] = place
        return self._places[name]

    async def run(self, cases: Sequence[Case]) -> None:
        """Measure limits, cases and peers one after another, and all of them again, round by round.

        A case that fails is left out of the later rounds. Raises whatever keeps the limits from being measured.
        """
        for number in range(self.options.rounds):
            say(f"round {number + 1} of {self.options.rounds}: limits")
            async with asyncio.timeout(_LIMITS_PATIENCE):
                await self._measure_limits()
            for case in cases:
                if not case.failed and not (case.once and number):
                    say(f"round {number + 1} of {self.options.rounds}: ({case.letter}) {case.title}")
                    await self._measure(case)
            if self.peers is not None:
                for job in self.peers.jobs_of([case.letter for case in cases]):
                    say(f"round {number + 1} of {self.options.rounds}: peer {job.name}")
                    await asyncio.to_thread(self.peers.measure, job)

    async def _measure(self, case: Case) -> None:
        """Measure a case; with PROFILE also what its databases did meanwhile."""
        if self.options.profile:
            for place in self._places.values():
                await statements.begin(place.connection)
        await _measured(case)
        if self.options.profile:
            for name, place in self._places.items():
                lines = await statements.top(place.connection)
                if len(lines) > statements.IDLE_LINES:
                    say("\n".join([f"statements in {name}, times in ms:", *lines]))

    async def _measure_limits(self) -> None:
        place = await self.place("limits")
        rows, messages = self.sized(50_000, 20_000), self.sized(5_000, 2_000)
        await limits.measure(place.database_url, place.amqp_url, self.limits, rows=rows, messages=messages)


async def _measured(case: Case) -> None:
    began = time.monotonic()
    try:
        async with asyncio.timeout(case.patience):
            await case.round()
    except TimeoutError:
        case.failed = f"not done after {time.monotonic() - began:.0f} s"
    except Exception as error:  # noqa: BLE001  one case's trouble is shown, and the others are measured all the same
        case.failed = _reason(error)
    say(f"  {case.failed or 'done'} ({time.monotonic() - began:.1f} s)")


def _reason(error: BaseException) -> str:
    """Return one line without addresses: of a group its first member's."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def say(line: str) -> None:
    """Tell how far it is; standard output belongs to the report."""
    print(line, file=sys.stderr, flush=True)
