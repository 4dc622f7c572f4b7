import os
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine

from services.dispatcher.app import create_app
from services.dispatcher.settings import DispatcherSettings
from shared.messaging.topology_admin import apply
from shared.persistence.database import create_engine
from shared.persistence.walls.roles import DbRole
from shared.runtime.settings import Mode
from simulator.issuer import DevIssuer
from tests.support.builders import World
from tests.support.issuing import AUDIENCE, issuing
from tests.support.rabbit import Rabbit
from tests.support.roles import as_role
from tests.walls.counting import Counted, recorder, summary

_reports: list[pytest.TestReport] = []


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
def issuer() -> Iterator[DevIssuer]:
    """An issuer that listens."""
    with issuing() as running:
        yield running


@pytest.fixture
async def app(amqp_url: str, management_url: str, database_url: str, issuer: DevIssuer) -> AsyncIterator[FastAPI]:
    """A running dispatcher that trusts the issuer."""
    async with Rabbit(amqp_url, management_url) as rabbit:
        await apply(management_url, rabbit.vhost)
    settings = DispatcherSettings(
        amqp_url=amqp_url,  # type: ignore[arg-type]  # pydantic reads the text
        database_url=as_role(database_url, DbRole.DISPATCHER),
        dispatcher_sweep_interval=3600,
        dispatcher_imports_at_once=16,  # as many as are asked for at a time
        reinstate_mode=Mode.DEVELOPMENT,
        oidc_issuer=issuer.url,
        oidc_audience=AUDIENCE,
    )
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
def counted(record_property: Callable[[str, object], None]) -> Counted:
    """Takes numbers for the last line of `make prove-walls`."""
    return recorder(record_property)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what the last line is made of."""
    if "REINSTATE_PROVE_WALLS" in os.environ:
        _reports.append(report)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Print the last line of a proof."""
    if _reports and not hasattr(config, "workerinput"):
        print(summary(_reports))  # noqa: T201  the proof's result
