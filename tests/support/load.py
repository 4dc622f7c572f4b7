"""Managers who work with the system whatever happens to it, and their own journal of what they were promised."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from cli.console import CliFailure
from cli.models import Run, StartedRun
from cli.refusals import RequestRefused
from shared.domain.runs import RunStatus
from tests.support.builders import World
from tests.support.whole_system import Customer, System, a_customer

POLICIES = 20
_PAUSE = 0.2  # seconds before a start that was not answered is sent again, under the same key


def dice(seed: int) -> random.Random:
    """Throw the same again for the same seed."""
    return random.Random(seed)  # noqa: S311  reproducible, not secret


@dataclass(frozen=True, slots=True)
class Promise:
    """A start that was answered with 201 or 200."""

    tenant_id: UUID
    run: UUID
    operation: str
    created: bool


@dataclass
class Journal:
    """What the callers saw. `unanswered` counts starts without an answer; each of them was sent again."""

    attempted: int = 0
    unanswered: int = 0
    promises: list[Promise] = field(default_factory=list)
    ended: dict[UUID, Run] = field(default_factory=dict)

    async def start(self, call: Callable[[str], Awaitable[StartedRun]]) -> Run:
        """Start until there is an answer, each time under the same key."""
        key = uuid4().hex
        while True:
            self.attempted += 1
            try:
                started = await call(key)
            except RequestRefused:
                raise
            except CliFailure:
                self.unanswered += 1
                await asyncio.sleep(_PAUSE)
                continue
            run = started.run
            self.promises.append(Promise(run.tenant_id, run.id, run.operation, started.created))
            return run


@dataclass
class Manager:
    """One person and one tenant: captures, lets it drift, previews the way back, restores, again and again."""

    customer: Customer
    journal: Journal
    rng: random.Random
    patience: float  # seconds for one run
    backup: UUID | None = None

    async def capture(self) -> Run:
        """Back everything up."""
        run = await self.ended(await self.start_capture())
        self.backup = run.id
        return run

    async def start_capture(self) -> Run:
        """Start a capture of everything."""
        api, tenant = self.customer.api, self.customer.id
        return await self.journal.start(
            lambda key: api.start_bulk(tenant, "backup_set.create", selector={"all": True}, idempotency_key=key)
        )

    async def preview(self) -> Run:
        """Let somebody change and delete things, and plan the way back."""
        if self.backup is None:
            await self.capture()
        order = {"seed": self.rng.randrange(2**31), "change": 6, "delete": 4}
        simulator, directory = self.customer.system.simulator, self.customer.directory
        await asyncio.to_thread(simulator.admin, "POST", f"/tenants/{directory}/drift", order)
        api, tenant, backup = self.customer.api, self.customer.id, self.backup
        started = await self.journal.start(
            lambda key: api.start_restore(tenant, backup_set_id=backup, idempotency_key=key)
        )
        return await self.ended(started)

    async def start_restore(self, preview: Run) -> Run:
        """Start carrying the plan out."""
        api, tenant = self.customer.api, self.customer.id
        return await self.journal.start(
            lambda key: api.start_restore(tenant, preview_run_id=preview.id, idempotency_key=key)
        )

    async def restore(self) -> Run:
        """Drift, preview, restore."""
        return await self.ended(await self.start_restore(await self.preview()))

    async def ended(self, run: Run) -> Run:
        """Wait for a run's end."""
        over = await self.customer.api.wait(run, within=self.patience)
        self.journal.ended[over.id] = over
        return over

    async def work(self, enough: asyncio.Event) -> None:
        """Work until told that it is enough; the run under way is waited for."""
        for turn in itertools.count():
            if enough.is_set():
                return
            if turn % 4 == 0:
                await self.capture()
            else:
                await self.restore()


@asynccontextmanager
async def managers(
    system: System, world: World, count: int, seed: int, *, patience: float = 180.0
) -> AsyncIterator[tuple[Journal, list[Manager]]]:
    """Open tenants of `POLICIES` policies each, with a manager for each, who share a journal."""
    journal = Journal()
    async with a_few_customers(system, world, count) as customers:
        yield (
            journal,
            [
                Manager(customer, journal, dice(seed * 100 + number), patience)
                for number, customer in enumerate(customers)
            ],
        )


@asynccontextmanager
async def a_few_customers(system: System, world: World, count: int) -> AsyncIterator[list[Customer]]:
    """Open tenants with `POLICIES` plain policies each."""
    if not count:
        yield []
        return
    async with a_customer(system, world, sample=False) as one, a_few_customers(system, world, count - 1) as others:
        await asyncio.to_thread(
            system.simulator.admin, "POST", f"/tenants/{one.directory}/objects", {"objects": plain_policies()}
        )
        yield [one, *others]


def plain_policies() -> list[dict[str, Any]]:
    """Policies that can always be restored: no secrets, no namesakes, nothing that refers to anything."""
    return [
        {
            "@odata.type": "#microsoft.graph.windows10GeneralConfiguration",
            "displayName": f"Policy {number:02}",
            "description": "As it was.",
            "passwordMinimumLength": 8 + number,
        }
        for number in range(POLICIES)
    ]


def bad_ends(journal: Journal) -> list[str]:
    """Runs of the journal that did not succeed."""
    return [
        f"{run.operation} {run.id}: {run.status.value} {run.error.code if run.error else ''} {run.counts}"
        for run in journal.ended.values()
        if run.status is not RunStatus.SUCCEEDED
    ]
