"""What commands that talk to the dispatcher share: options, the client, waiting with a progress bar."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from cli.console import CliFailure, ExitCode, Output, stderr, usage
from cli.settings import DEFAULT_URL, required

if TYPE_CHECKING:
    from cli.client import Client, Progress
    from cli.models import Run

TenantOption = Annotated[UUID, typer.Option("--tenant", "-t", envvar="REINSTATE_TENANT", help="The tenant's id.")]
WaitFlag = Annotated[bool, typer.Option("--wait", help="Wait for the end, with a progress bar.")]


def client() -> "Client":
    """Build the client from REINSTATE_URL and REINSTATE_TOKEN."""
    from cli.client import Client

    url = os.environ.get("REINSTATE_URL", "").strip() or DEFAULT_URL
    if not url.startswith(("http://", "https://")):
        raise usage("REINSTATE_URL must start with http:// or https://", code="cli.setting_invalid")
    return Client(url, required("REINSTATE_TOKEN", "who you are", "set it to what `reinstate user add` printed"))


@contextmanager
def progress_bar(output: Output) -> Iterator["Progress"]:
    """Give a callback that draws a run's progress on standard error; silent with --json."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    if output.as_json:
        yield _draw_nothing
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=stderr()) as bar:
        tasks: dict[UUID, object] = {}

        def draw(run: "Run") -> None:
            if run.id not in tasks:
                tasks[run.id] = bar.add_task(run.operation, total=None, note="")
            note = f"waits for {run.wait_text}" if run.wait_text else run.status.value
            bar.update(tasks[run.id], total=run.counts.total, completed=run.counts.processed, note=note)  # type: ignore[arg-type]  # rich's task id

        yield draw


def _draw_nothing(_: "Run") -> None:
    """Programs read the end, not the way there."""


def check_ended_well(run: "Run") -> None:
    """Raise `CliFailure` (exit code 1) for a run that did not succeed."""
    if run.is_good or not run.status.is_terminal:
        return
    counts = run.counts
    why = f": {run.error.title or run.error.code}" if run.error else ""
    raise CliFailure(
        f"{run.operation} ended {run.status}{why} "
        f"({counts.succeeded} good, {counts.failed} failed, {counts.skipped} skipped)",
        exit_code=ExitCode.FAILED,
        code=run.error.code if run.error else f"run.{run.status}",
        next_step=f"see which items and why: reinstate runs show {run.id} --items",
        details={"run": run.model_dump(mode="json")},
    )
