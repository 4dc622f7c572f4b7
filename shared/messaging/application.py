"""A consuming service as FastStream's application: started by `faststream run --factory` or by `reinstate serve`."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from faststream import FastStream

from shared.messaging.intake import Intake

Application = FastStream
Around = Callable[[], AbstractAsyncContextManager[None]]


def _nothing() -> None:
    """Most services have nothing to say before they stop."""


def application(
    intake: Intake,
    around: Around,
    *,
    connect: Callable[[], Awaitable[None]],
    before_stop: Callable[[], None] = _nothing,
) -> Application:
    """Return an application that consumes `intake` for as long as it runs, with `around` open outside of it.

    `connect` runs before the consumers start and may take its time: a signal ends it. On SIGTERM or SIGINT:
    `before_stop`, then the consumers are cancelled, then messages in work end within the graceful timeout, then
    `around` is left. Raises what `connect` raises, or aio-pika's `AMQPError` when the consumers cannot start.
    """

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with around():
            yield

    async def stop() -> None:
        before_stop()
        await intake.stop()

    return FastStream(intake.broker, lifespan=lifespan, on_startup=[connect], on_shutdown=[stop])


@asynccontextmanager
async def started(app: Application) -> AsyncIterator[None]:
    """Run an application inside another program's event loop, without signal handlers: for tests and tools."""
    async with app.lifespan_context():
        await app.start()
        try:
            yield
        finally:
            await app.stop()
