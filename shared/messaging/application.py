"""A consuming service as FastStream's application: started by `faststream run --factory` or by `reinstate serve`."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from faststream import FastStream

from shared.messaging.intake import Intake

Application = FastStream
Around = Callable[[], AbstractAsyncContextManager[None]]


def _nothing() -> None:
    """Most services have nothing to say before they stop."""


def application(intake: Intake, around: Around, *, before_stop: Callable[[], None] = _nothing) -> Application:
    """Return an application that consumes `intake` for as long as it runs, with `around` open outside of it.

    On SIGTERM or SIGINT: `before_stop`, then the consumers are cancelled, then messages in work end within the graceful
    timeout, then `around` is left. Raises aio-pika's `AMQPConnectionError` at start when the broker does not answer.
    """

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with around():
            yield

    async def stop() -> None:
        before_stop()
        await intake.stop()

    return FastStream(intake.broker, lifespan=lifespan, on_shutdown=[stop])


@asynccontextmanager
async def started(app: Application) -> AsyncIterator[None]:
    """Run an application inside another program's event loop, without signal handlers: for tests and tools."""
    async with app.lifespan_context():
        await app.start()
        try:
            yield
        finally:
            await app.stop()
