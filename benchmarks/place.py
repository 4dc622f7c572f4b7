"""A database and a virtual host of one case, with what a case needs to put into them and to see of them."""

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import httpx

from cli.stack import Stack
from cli.stack.doors import let_services_in
from shared.messaging.topology_admin import apply
from shared.persistence.migrate import upgrade
from shared.runtime.ids import new_id

DRAINED = 0.05  # seconds between two looks at a count that grows, as often as the peers' scripts look
_NO_WORK_LEFT = "SELECT NOT EXISTS (SELECT FROM outbox)"


@dataclass(frozen=True, slots=True)
class Place:
    """`connection` is the observer's own, beside those of the services."""

    database_url: str
    amqp_url: str
    management_url: str
    connection: asyncpg.Connection
    user_id: UUID
    token: str

    @classmethod
    @asynccontextmanager
    async def opened(cls, stack: Stack, name: str) -> AsyncIterator[Self]:
        """Create the schema, the topology and one user, who may do everything everywhere."""
        database_url = await asyncio.to_thread(stack.database_named, name)
        amqp_url = await asyncio.to_thread(stack.vhost, name)
        await upgrade(database_url)
        await let_services_in(database_url)
        await apply(stack.management_url, urlsplit(amqp_url).path.removeprefix("/"))
        connection = await asyncpg.connect(database_url)
        try:
            user_id, token = new_id(), secrets.token_urlsafe(32)
            sha256 = hashlib.sha256(token.encode()).hexdigest()
            await connection.execute(
                "INSERT INTO users (id, email, name, token_sha256) VALUES ($1, 'bench@example.com', 'Bench', $2)",
                user_id,
                sha256,
            )
            yield cls(database_url, amqp_url, stack.management_url, connection, user_id, token)
        finally:
            await connection.close()

    async def add_tenants(self, count: int, *, policies: int) -> list[UUID]:
        """Add tenants with so many policies each in their inventory, and a connection that nobody opens."""
        ids = [new_id() for _ in range(count)]
        await self.connection.execute(
            "INSERT INTO tenants (id, external_id, name, connector, connection)"
            " SELECT id, id::text, 'Tenant', 'folder', '{\"path\": \"nowhere\"}' FROM unnest($1::uuid[]) id",
            ids,
        )
        await self.connection.execute(
            "INSERT INTO memberships (tenant_id, user_id, role) SELECT id, $2, 'manager' FROM unnest($1::uuid[]) id",
            ids,
            self.user_id,
        )
        await self.connection.execute(
            "INSERT INTO policies (tenant_id, id, policy_type, remote_id, display_name, natural_key)"
            " SELECT t, gen_random_uuid(), 'deviceConfiguration', n::text, 'Policy ' || n, 'policy ' || n"
            " FROM unnest($1::uuid[]) t, generate_series(1, $2::int) n",
            ids,
            policies,
        )
        await self.connection.execute("ANALYZE tenants, memberships, policies")
        return ids

    async def policies(self, tenants: Sequence[UUID]) -> list[tuple[UUID, UUID]]:
        """Return tenant and id of every policy of these tenants, the tenants taking turns."""
        rows = await self.connection.fetch(
            "SELECT tenant_id, id FROM policies WHERE tenant_id = ANY($1::uuid[]) ORDER BY remote_id::int, tenant_id",
            list(tenants),
        )
        return [(row["tenant_id"], row["id"]) for row in rows]

    async def until_told(self, tenant_id: UUID, run_id: UUID, *, look_every: float = 0.01) -> str:
        """Wait for the notification of the run's end; return its status."""
        query = "SELECT status FROM notifications WHERE tenant_id = $1 AND run_id = $2 AND interrupts"
        while (status := await self.connection.fetchval(query, tenant_id, run_id)) is None:
            await asyncio.sleep(look_every)
        return str(status)

    async def count(self, what: str) -> int:
        """Count rows: `what` is a table, with a condition where needed."""
        return int(await self.connection.fetchval(f"SELECT count(*) FROM {what}"))  # noqa: S608  our own words

    async def until_sent(self) -> None:
        """Wait until the broker has everything."""
        while not await self.connection.fetchval(_NO_WORK_LEFT):
            await asyncio.sleep(DRAINED)

    async def succeeded(self, tenant_id: UUID, run_id: UUID, items: int) -> None:
        """Check that every item of a run has its outcome; raise `RuntimeError` when not."""
        done = await self.connection.fetchval(
            "SELECT count(*) FROM bulk_operation_run_items"
            " WHERE tenant_id = $1 AND run_id = $2 AND state = 'succeeded'",
            tenant_id,
            run_id,
        )
        if done != items:
            raise RuntimeError(f"{done} of {items} items succeeded")

    def http(self, url: str) -> httpx.AsyncClient:
        """Sign in to the API."""
        limits = httpx.Limits(
            max_connections=64, max_keepalive_connections=64, keepalive_expiry=1
        )  # the server's is 5 s
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=60, trust_env=False)


class Shed(RuntimeError):
    """The dispatcher had too much to do and refused a start (503)."""


async def start(client: httpx.AsyncClient, tenant_id: UUID, operation: str, **body: Any) -> UUID:
    """Start a bulk run over HTTP; return its id. Raises `Shed`, or `RuntimeError` when it is not a new run."""
    resource, _, action = operation.partition(".")
    answer = await client.post(
        f"/v1/tenants/{tenant_id}/bulk-operation-runs", json={"resource": resource, "action": action, **body}
    )
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        raise Shed("a start was answered with 503")
    if answer.status_code != httpx.codes.CREATED:
        raise RuntimeError(f"a start was answered with {answer.status_code}")
    return UUID(answer.json()["id"])


async def drained(count: Callable[[], Awaitable[int]], expected: int) -> float:
    """Return how many a second were done, from the first that is seen to the last."""
    while not (first := await count()):
        await asyncio.sleep(DRAINED / 5)
    began = time.perf_counter()
    while (done := await count()) < expected:
        await asyncio.sleep(DRAINED)
    taken = time.perf_counter() - began
    if done <= first or not taken:
        raise RuntimeError("all was done before the second look: measure more")
    return (done - first) / taken
