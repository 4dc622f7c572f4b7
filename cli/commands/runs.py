"""`reinstate runs`: look at runs, follow them, stop them."""

from typing import Annotated
from uuid import UUID

import typer

from cli.connection import TenantOption, WaitFlag, check_ended_well, client, progress_bar
from cli.console import EXIT_CODES, JsonFlag, Output, reporting, run

app = typer.Typer(no_args_is_help=True, help="Look at runs, follow them, stop them, retry them.", epilog=EXIT_CODES)
RunArgument = Annotated[UUID, typer.Argument(help="The run's id.", show_default=False)]


@app.command("list")
def list_runs(
    tenant: TenantOption,
    status: Annotated[list[str] | None, typer.Option(help="Only runs in this status; may be given twice.")] = None,
    operation: Annotated[str | None, typer.Option(help="Only this operation, such as restore.preview.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, newest first.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """List the tenant's runs, newest first."""
    with reporting(as_json) as output:
        run(_list(output, tenant, status or [], operation, limit))


async def _list(output: Output, tenant: UUID, status: list[str], operation: str | None, limit: int) -> None:
    from cli import views
    from cli.console import usage
    from shared.domain.runs import RunStatus

    try:
        statuses = [RunStatus.parse(word) for word in status]
    except ValueError:
        raise usage(f"a status is one of {', '.join(RunStatus)}") from None
    async with client() as api:
        page = await api.runs(tenant, statuses=statuses, operation=operation, limit=limit)
    output.result(page.model_dump(mode="json"), lambda console: console.print(views.runs(page.items)))


@app.command()
def show(
    run_id: RunArgument,
    tenant: TenantOption,
    items: Annotated[bool, typer.Option("--items", help="Show its items, too.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show one run."""
    with reporting(as_json) as output:
        run(_show(output, tenant, run_id, with_items=items))


async def _show(output: Output, tenant: UUID, run_id: UUID, *, with_items: bool) -> None:
    from rich.console import Group

    from cli import views

    async with client() as api:
        found = await api.find_run(tenant, run_id)
        rows = [item async for item in api.items(found)] if with_items else []
    document = found.model_dump(mode="json")
    if with_items:
        document["items"] = [row.model_dump(mode="json") for row in rows]
    shown = Group(views.run(found), *([views.items(rows)] if with_items else []))
    output.result(document, lambda console: console.print(shown))


@app.command("id-map")
def id_map(run_id: RunArgument, tenant: TenantOption, as_json: JsonFlag = False) -> None:
    """Report what a restore made of the backup's ids: what was created, what was taken for what."""
    with reporting(as_json) as output:
        run(_id_map(output, tenant, run_id))


async def _id_map(output: Output, tenant: UUID, run_id: UUID) -> None:
    from cli import views
    from shared.domain.runs import RunType

    async with client() as api:
        rows = [one async for one in api.id_map(await api.run(tenant, RunType.RESTORE, run_id))]
    document = {"run_id": str(run_id), "items": [one.model_dump(mode="json") for one in rows]}
    output.result(document, lambda console: console.print(views.id_map(rows)))


@app.command()
def watch(
    run_id: RunArgument,
    tenant: TenantOption,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per event as it happens, and the run as the last one.")
    ] = False,
) -> None:
    """Follow a run to its end; exit code 1 unless it succeeds."""
    with reporting(as_json) as output:
        run(_watch(output, tenant, run_id))


async def _watch(output: Output, tenant: UUID, run_id: UUID) -> None:
    from cli import views
    from cli.following import LOOK_WHEN_QUIET, follow

    async with client() as api:
        found = await api.find_run(tenant, run_id)
        with progress_bar(output) as draw:
            quiet = None if output.as_json else LOOK_WHEN_QUIET
            ended = await follow(api, found, output.event, draw, look_when_quiet=quiet)
    check_ended_well(ended)
    output.result(ended.model_dump(mode="json"), lambda console: console.print(views.run(ended)))


@app.command()
def abort(run_id: RunArgument, tenant: TenantOption, as_json: JsonFlag = False) -> None:
    """Ask a run to stop between two items. What was done stays done."""
    with reporting(as_json) as output:
        run(_abort(output, tenant, run_id))


async def _abort(output: Output, tenant: UUID, run_id: UUID) -> None:
    from cli import views

    async with client() as api:
        asked = await api.abort(await api.find_run(tenant, run_id))
    output.result(asked.model_dump(mode="json"), lambda console: console.print(views.run(asked)))


@app.command("retry-failed")
def retry_failed(
    run_id: RunArgument,
    tenant: TenantOption,
    include_unknown: Annotated[
        bool,
        typer.Option("--include-unknown", help="Also items whose outcome nobody knows: looked for before written."),
    ] = False,
    wait: WaitFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Start a child run over what failed in a run that is over, or join the one that is active."""
    with reporting(as_json) as output:
        run(_retry_failed(output, tenant, run_id, include_unknown=include_unknown, wait=wait))


async def _retry_failed(output: Output, tenant: UUID, run_id: UUID, *, include_unknown: bool, wait: bool) -> None:
    from cli import views

    async with client() as api:
        started = await api.retry_failed(await api.find_run(tenant, run_id), include_unknown=include_unknown)
        child = started.run
        if wait:
            with progress_bar(output) as draw:
                child = await api.wait(child, draw)
    check_ended_well(child)
    document = {"created": started.created, "run": child.model_dump(mode="json")}
    output.result(document, lambda console: console.print(views.run(child)))
