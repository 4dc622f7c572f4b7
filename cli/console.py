"""How every command speaks: results on standard output, the rest on standard error, an exit code for each end."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

T = TypeVar("T")


class ExitCode(IntEnum):
    """What a shell sees. Scripts may rely on these."""

    OK = 0
    FAILED = 1  # the thing itself: a run ended failed, partial or aborted; a check found something
    USAGE = 2  # the command line, a setting or an input file is wrong
    UNREACHABLE = 3  # the server, the broker or the database does not answer
    REFUSED = 4  # it answered and refused


EXIT_CODES = (
    "Exit codes: 0 done; 1 the thing itself failed (a run ended failed, partial or aborted; a check found something);"
    " 2 wrong usage, setting or input; 3 a server does not answer; 4 a server refused."
)

PIPE_WIDTH = 240  # columns; a file or pipe has no width of its own, and what is folded cannot be searched

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


class CliFailure(Exception):
    """An expected end that is no success: one line for people, a code for programs, and what to do next."""

    def __init__(
        self,
        message: str,
        *,
        exit_code: ExitCode,
        code: str = "cli.failed",
        next_step: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Carry nothing secret: all of it is printed."""
        super().__init__(message)
        self.exit_code = exit_code
        self.code = code
        self.next_step = next_step
        self.details = dict(details or {})


def usage(message: str, *, next_step: str = "", code: str = "cli.usage") -> CliFailure:
    """Say that the command line, a setting or an input file is wrong."""
    return CliFailure(message, exit_code=ExitCode.USAGE, code=code, next_step=next_step)


def unreachable(what: str, *, next_step: str) -> CliFailure:
    """Say that a server does not answer."""
    return CliFailure(
        f"{what} does not answer", exit_code=ExitCode.UNREACHABLE, code="service.unavailable", next_step=next_step
    )


class Output:
    """Where a command's result goes: as one JSON document, or as what people read."""

    def __init__(self, *, as_json: bool) -> None:
        """Print JSON instead of text when `as_json`."""
        self.as_json = as_json

    def result(self, document: Any, show: Callable[["Console"], None]) -> None:  # noqa: ANN401  anything JSON can say
        """Print the result, once."""
        if self.as_json:
            print(json.dumps(document, default=str, ensure_ascii=False))
        else:
            show(stdout())

    def event(self, document: Any) -> None:  # noqa: ANN401  anything JSON can say
        """Print what happened before the result, a line each; people see it another way."""
        if self.as_json:
            print(json.dumps(document, default=str, ensure_ascii=False), flush=True)

    def say(self, renderable: "RenderableType") -> None:
        """Tell people something on standard error; programs do not hear it."""
        if not self.as_json:
            stderr().print(renderable)

    def fail(self, failure: CliFailure) -> None:
        """Print an expected failure: a line and its next step, or an `error` document."""
        if self.as_json:
            error = {"code": failure.code, "message": str(failure), "next_step": failure.next_step, **failure.details}
            print(json.dumps({"error": error}, default=str, ensure_ascii=False))
            return
        console = stderr()
        console.print(f"{failure} ({failure.code})", style="red", markup=False, highlight=False)
        if failure.next_step:
            console.print(f"  → {failure.next_step}", markup=False, highlight=False)


def stdout() -> "Console":
    """Return the console of results."""
    from rich.console import Console

    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def stderr() -> "Console":
    """Return the console of everything else."""
    from rich.console import Console

    return Console(file=sys.stderr, width=None if sys.stderr.isatty() else PIPE_WIDTH)


@contextmanager
def reporting(as_json: bool) -> Iterator[Output]:
    """Run a command's body; expected failures end it with their exit code and without a stack trace."""
    from shared.domain.errors import ReinstateError

    output = Output(as_json=as_json)
    try:
        yield output
    except CliFailure as failure:
        output.fail(failure)
        raise typer.Exit(failure.exit_code) from None
    except ReinstateError as error:
        output.fail(_translated(error))
        raise typer.Exit(_translated(error).exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _translated(error: Exception) -> CliFailure:
    from shared.domain.errors import ReinstateError, TransientError

    if not isinstance(error, ReinstateError):
        raise error
    reason = error.context.get("reason")
    facts = ", ".join(f"{name} {value}" for name, value in error.context.items() if name != "reason")
    message = str(reason) if reason else (facts or "it did not work")
    exit_code = ExitCode.UNREACHABLE if isinstance(error, TransientError) else ExitCode.REFUSED
    return CliFailure(message, exit_code=exit_code, code=error.code.value, next_step=_NEXT.get(error.code.value, ""))


_NEXT = {
    "service.unavailable": "check AMQP_URL and DATABASE_URL, and whether the servers run: reinstate doctor",
    "topology.unreachable": "check that the management API is enabled and RABBITMQ_MANAGEMENT_URL leads there",
    "topology.conflict": "delete the named objects once they are empty, then apply again",
    "folder.missing": "check the path; it must be a folder",
}


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run an asynchronous body to its end."""
    return asyncio.run(work)
