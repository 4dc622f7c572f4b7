"""`reinstate serve` and `reinstate simulate`: processes that run until a signal ends them."""

import os
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import EXIT_CODES, CliFailure, reporting, run, unreachable, usage
from shared.runtime.garbage import collect_from_now_on, load_without_collecting

if TYPE_CHECKING:
    from pydantic import ValidationError

_STOP = 10  # seconds that a stop waits for callers who do not take their answers

simulate = typer.Typer(
    no_args_is_help=True, help="Simulate a tenant's system, for trying things out.", epilog=EXIT_CODES
)


class Service(StrEnum):
    """What can be served."""

    DISPATCHER = "dispatcher"
    RESTORE_WORKER = "restore-worker"
    BULK_WORKER = "bulk-worker"
    NOTIFIER = "notifier"


def serve(
    service: Annotated[Service, typer.Argument(help="Which service to run.", show_default=False)],
    host: Annotated[str, typer.Option(envvar="REINSTATE_HOST", help="Dispatcher: the address to listen on.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(envvar="REINSTATE_PORT", min=0, max=65535, help="Dispatcher: its port.")] = 8080,
) -> None:
    """Run one service until SIGTERM or SIGINT; settings come from the environment."""
    for number in (signal.SIGTERM, signal.SIGINT):  # before the slow imports: a stop is orderly from the first moment
        signal.signal(number, _leave)
    load_without_collecting()
    from pydantic import ValidationError

    with reporting(as_json=False):
        try:
            if service is Service.DISPATCHER:
                _serve_http(host, port)
            else:
                _serve_consumer(service)
        except ValidationError as error:
            raise _wrong_settings(error) from None


def _leave(*_: object) -> None:
    """End a start-up that has nothing to finish yet; the running service has handlers of its own.

    At once: an exception that a signal raises while modules are imported may be swallowed, and the signal with it.
    """
    os._exit(0)


def _serve_http(host: str, port: int) -> None:
    import uvicorn

    from services.dispatcher.app import create_app
    from services.dispatcher.connections import with_patience
    from services.dispatcher.settings import DispatcherSettings

    settings = DispatcherSettings()
    app = create_app(settings)
    collect_from_now_on()

    def leave(*_: object) -> None:
        """After an orderly end uvicorn sends itself the signal again; that is a failure only where a task crashed."""
        machinery = getattr(app.state, "machinery", None)
        sys.exit(machinery.background.exit_code if machinery else 0)

    signal.signal(signal.SIGTERM, leave)
    uvicorn.run(
        app,
        host=host,
        port=port,
        access_log=False,
        log_config=None,  # its own would write past ours
        server_header=False,
        http=with_patience(settings.dispatcher_stalled_limit),
        timeout_graceful_shutdown=_STOP,
    )


def _serve_consumer(service: Service) -> None:
    from importlib import import_module

    from aio_pika.exceptions import AMQPConnectionError

    from shared.domain.errors import TransientError

    module = import_module(f"services.{service.value.replace('-', '_')}.app")
    app = module.create_app()
    collect_from_now_on()
    try:
        run(app.run())
    except (AMQPConnectionError, TransientError, OSError):
        raise unreachable("the broker", next_step="check AMQP_URL: reinstate doctor") from None


def _wrong_settings(error: "ValidationError") -> CliFailure:
    places = ("_".join(map(str, one["loc"])).upper() for one in error.errors(include_input=False, include_url=False))
    return usage(
        f"settings are missing or wrong: {', '.join(places)}",
        next_step='for local servers: eval "$(reinstate stack up --env)"',
        code="cli.setting_invalid",
    )


@simulate.callback()
def simulators() -> None:
    """Simulate a tenant's system, for trying things out."""


@simulate.command()
def graph(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 0,
    tenants: Annotated[int, typer.Option(min=0, help="How many tenants to make.")] = 3,
    seed: Annotated[int, typer.Option(help="Decides ids, jitter and order.")] = 1,
    journal: Annotated[Path | None, typer.Option(help="A file that every request is appended to.")] = None,
    ready_file: Annotated[Path | None, typer.Option(help="A file that gets address and sign-in data.")] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Load the sample into the first tenant.")] = False,
    load: Annotated[Path | None, typer.Option(help="Load a folder of exported policies into the first tenant.")] = None,
) -> None:
    """Run a deterministic Microsoft Graph; prints one line of JSON with its address when it listens."""
    from pydantic import ValidationError

    from simulator.server import SimulatorSettings
    from simulator.server import serve as serve_graph

    with reporting(as_json=False):
        try:
            settings = SimulatorSettings(
                host=host,
                port=port,
                tenants=tenants,
                seed=seed,
                journal=journal,
                ready_file=ready_file,
                sample=sample,
                load=load,
            )
        except ValidationError as error:
            raise _wrong_settings(error) from None
        try:
            serve_graph(settings, lambda line: print(line, flush=True))
        except OSError as error:
            raise usage(
                f"cannot listen on {host}:{port}: {error.strerror}", next_step="choose another --port"
            ) from None
