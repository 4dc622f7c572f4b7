"""Runs whose events a test makes by hand, and a listener that sees every line of a stream."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import UUID

import httpx

from shared.domain.runs import RunType
from shared.persistence.unit_of_work import SqlUnitOfWork
from shared.ports import RunRecord
from tests.support.builders import World, a_new_run


@dataclass(frozen=True, slots=True)
class RunByHand:
    """A run that nobody works: a test commits its events, each in one statement as the services do."""

    world: World
    tenant_id: UUID
    id: UUID
    run_type: RunType = RunType.BULK

    @classmethod
    async def queued(cls, world: World, tenant_id: UUID, **changes: Any) -> Self:
        """Add a run with ten items; that it is queued is its event 1."""
        uow = SqlUnitOfWork(world.engine, service="test")
        new = a_new_run(tenant_id=tenant_id, total=10, **changes)
        async with uow.begin(tenant_id) as tx:
            await tx.runs.insert(new)
        return cls(world, tenant_id, new.id, new.run_type)

    @property
    def path(self) -> str:
        """Where its events are."""
        kind = {RunType.BULK: "bulk-operation-runs", RunType.RESTORE: "restore-runs"}[self.run_type]
        return f"/v1/tenants/{self.tenant_id}/{kind}/{self.id}/events"

    async def start(self) -> int:
        """Set it running."""
        return await self._event("status = 'running', started_at = clock_timestamp()")

    async def progress(self, items: int = 1) -> int:
        """Have some more items end well."""
        return await self._event("succeeded = succeeded + :items, processed_items = processed_items + :items", items)

    async def end(self, status: str = "succeeded", code: str | None = None) -> int:
        """End it."""
        finished = "completed_at" if self.run_type is RunType.RESTORE else "finished_at"
        return await self._event(f"status = '{status}', {finished} = clock_timestamp(), error_code = :code", code=code)

    async def read(self) -> RunRecord:
        """Its row."""
        async with SqlUnitOfWork(self.world.engine, service="test").begin(self.tenant_id) as tx:
            run = await tx.runs.get(self.run_type, self.id)
        assert run is not None
        return run

    async def _event(self, change: str, items: int | None = None, code: str | None = None) -> int:
        given = {"items": items} if items is not None else {}
        given |= {"code": code} if ":code" in change else {}  # type: ignore[dict-item]  # a text or nothing
        rows = await self.world.rows(
            f"UPDATE {self.run_type.value}s SET event_seq = event_seq + 1, {change}"  # noqa: S608  our own words
            " WHERE tenant_id = :tenant AND id = :run RETURNING event_seq",
            tenant=self.tenant_id,
            run=self.id,
            **given,
        )
        return int(rows[0]["event_seq"])


@dataclass(frozen=True, slots=True)
class Heard:
    """One event of a stream."""

    sequence: int
    kind: str
    data: dict[str, Any]

    @property
    def status(self) -> str:
        """The run's status then."""
        return str(self.data["status"])


@dataclass
class Stream:
    """An open stream."""

    response: httpx.Response
    comments: int = 0
    retry: int | None = None
    events: list[Heard] = field(default_factory=list)

    async def __aiter__(self) -> AsyncIterator[Heard]:
        """Yield events as they come; count comments."""
        found: dict[str, str] = {}
        async for line in self.response.aiter_lines():
            name, _, value = line.partition(": ")
            if line.startswith(":"):
                self.comments += 1
            elif name == "retry":
                self.retry = int(value)
            elif line:
                assert name not in found, "every field once"
                found[name] = value
            elif found:
                self.events.append(Heard(int(found["id"]), found["event"], json.loads(found["data"])))
                found = {}
                yield self.events[-1]

    async def rest(self) -> list[Heard]:
        """Wait for the server to end it; return what was not heard before."""
        return [event async for event in self]


@asynccontextmanager
async def listening(
    http: httpx.AsyncClient, path: str, headers: dict[str, str], *, after: int | None = None, last_id: int | None = None
) -> AsyncIterator[Stream]:
    """Open a stream; `last_id` is how a browser says where it was."""
    more = {} if last_id is None else {"Last-Event-ID": str(last_id)}
    params = {} if after is None else {"after": after}
    async with http.stream("GET", path, headers=headers | more, params=params) as response:
        assert response.status_code == 200, (await response.aread()).decode()
        yield Stream(response)
