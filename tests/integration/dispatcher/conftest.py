from collections.abc import AsyncIterator
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine

from services.dispatcher.app import create_app
from services.dispatcher.settings import DispatcherSettings
from shared.domain.operations import Role
from shared.messaging.topology_admin import apply
from shared.persistence.database import create_engine
from shared.persistence.walls.roles import DbRole
from shared.runtime.settings import Mode
from tests.support.builders import Person, World
from tests.support.rabbit import Rabbit
from tests.support.roles import as_role


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """The test's own look at the database."""
    engine = create_engine(database_url, service="test")
    yield engine
    await engine.dispose()


@pytest.fixture
def world(engine: AsyncEngine) -> World:
    """Rows to start from."""
    return World(engine)


@pytest.fixture
async def rabbit(amqp_url: str, management_url: str) -> AsyncIterator[Rabbit]:
    """The test's vhost with the topology."""
    async with Rabbit(amqp_url, management_url) as rabbit:
        await apply(management_url, rabbit.vhost)
        yield rabbit


@pytest.fixture
def settings(rabbit: Rabbit, database_url: str) -> DispatcherSettings:
    """Settings of the dispatcher under test; the sweeper runs when a test calls it."""
    return DispatcherSettings(
        amqp_url=rabbit.amqp_url,  # type: ignore[arg-type]  # pydantic reads the text
        database_url=as_role(database_url, DbRole.DISPATCHER),
        reinstate_mode=Mode.DEVELOPMENT,  # commands need no signature there; those of `test_signed_commands` do
        dispatcher_sweep_interval=3600,
        dispatcher_dead_letter_interval=0.5,
    )


@pytest.fixture
async def app(settings: DispatcherSettings) -> AsyncIterator[FastAPI]:
    """A running dispatcher."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A caller without a token."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://dispatcher") as client:
        yield client


@pytest.fixture
async def tenant(world: World) -> str:
    """The path of a tenant."""
    return f"/v1/tenants/{await world.add_tenant()}"


@pytest.fixture
async def manager(world: World, tenant: str) -> Person:
    """Somebody who may start anything there."""
    return await world.add_member(UUID(tenant.rpartition("/")[2]), Role.MANAGER)
