"""A real Chromium in front of a real dispatcher. Without a browser on this machine the tests are skipped."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
import uvicorn
from playwright.async_api import Browser, BrowserContext, Page, async_playwright
from sqlalchemy.ext.asyncio import AsyncEngine

from services.dispatcher.app import create_app
from services.dispatcher.console.cookies import PLAIN_NAME
from services.dispatcher.settings import DispatcherSettings
from shared.domain.operations import Role
from shared.persistence.database import create_engine
from shared.runtime.settings import Mode
from tests.support.builders import Person, World
from tests.support.console import session_of

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
NOBODY = "amqp://guest:guest@127.0.0.1:9/none"  # a broker that never answers: nothing here needs one
PATIENCE = 15_000  # ms


@dataclass
class Desk:
    """The dispatcher as browsers reach it; it can be stopped and started again at the same place."""

    settings: DispatcherSettings
    port: int = 0
    server: uvicorn.Server | None = None
    task: "asyncio.Task[None] | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        config = uvicorn.Config(
            create_app(self.settings),
            host="127.0.0.1",
            port=self.port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self.server = uvicorn.Server(config)
        self.server.capture_signals = _no_signals  # type: ignore[method-assign]  # they are pytest's
        self.task = asyncio.create_task(self.server.serve())
        while not self.server.started:
            assert not self.task.done()
            await asyncio.sleep(0.02)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self.server is not None
        assert self.task is not None
        self.server.should_exit = True
        await self.task


def _no_signals() -> Any:
    return _nothing()


class _nothing:  # noqa: N801  a context of no effect
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(database_url, service="test")
    yield engine
    await engine.dispose()


@pytest.fixture
def world(engine: AsyncEngine) -> World:
    return World(engine)


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    settings = DispatcherSettings(
        amqp_url=NOBODY,  # type: ignore[arg-type]  # pydantic reads the text
        database_url=database_url,  # type: ignore[arg-type]  # as above
        dispatcher_sweep_interval=3600,
        dispatcher_dead_letter_interval=3600,
        reinstate_mode=Mode.DEVELOPMENT,
    )
    desk = Desk(settings)
    await desk.start()
    yield desk
    await desk.stop()


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def contoso(world: World) -> UUID:
    return await world.add_tenant()


@pytest.fixture
async def mara(world: World, contoso: UUID) -> Person:
    return await world.add_member(contoso, Role.MANAGER)


@dataclass
class Window:
    """A page of a browser, and what went wrong in it."""

    page: Page
    context: BrowserContext
    wrong: list[str] = field(default_factory=list)


Opened = Callable[..., AbstractAsyncContextManager[Window]]


@pytest.fixture
def window(chromium: Browser, desk: Desk, world: World, mara: Person) -> Opened:
    """Opens windows in which Mara is signed in, unless told otherwise."""

    @asynccontextmanager
    async def opened(*, signed_in: bool = True, **options: Any) -> AsyncIterator[Window]:
        context = await chromium.new_context(base_url=desk.url, **options)
        context.set_default_timeout(PATIENCE)
        if signed_in:
            session = await session_of(world, mara.id)
            await context.add_cookies([{"name": PLAIN_NAME, "value": session, "url": desk.url}])
        page = await context.new_page()
        made = Window(page, context)
        page.on("pageerror", lambda error: made.wrong.append(str(error)))
        page.on("console", lambda said: made.wrong.append(said.text) if "Content Security" in said.text else None)
        page.on(
            "request", lambda asked: None if asked.url.startswith(desk.url) else made.wrong.append(f"asked {asked.url}")
        )
        yield made
        await context.close()

    return opened
