"""`reinstate restore`: see what a restore would do, then do exactly that."""

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from cli.connection import TenantOption, check_ended_well, client, progress_bar
from cli.console import EXIT_CODES, CliFailure, ExitCode, JsonFlag, Output, reporting, run, usage

if TYPE_CHECKING:
    from cli.client import Client

app = typer.Typer(no_args_is_help=True, help="Preview a restore, then carry the preview out.", epilog=EXIT_CODES)


@app.command()
def preview(
    backup_set: Annotated[UUID, typer.Argument(help="The backup set's id.", show_default=False)],
    tenant: TenantOption,
    item: Annotated[list[UUID] | None, typer.Option(help="Only this backup item; may be given several times.")] = None,
    policy_type: Annotated[list[str] | None, typer.Option(help="Only this policy type; several times.")] = None,
    words: Annotated[bool, typer.Option(help="Say beneath each object what would change.")] = True,
    diff: Annotated[bool, typer.Option("--diff", help="Show the JSON Patch of each object, too.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show what a restore of a backup set would do. Writes nothing to the tenant."""
    with reporting(as_json) as output:
        if item and policy_type:
            raise usage("give --item or --policy-type, not both")
        run(_preview(output, tenant, backup_set, item, policy_type, with_words=words, with_diff=diff))


async def _preview(
    output: Output,
    tenant: UUID,
    backup_set: UUID,
    item: list[UUID] | None,
    policy_type: list[str] | None,
    *,
    with_words: bool,
    with_diff: bool,
) -> None:
    from cli import views

    selector = {"policy_types": policy_type} if policy_type else None
    async with client() as api:
        started = await api.start_restore(tenant, backup_set_id=backup_set, item_ids=item, selector=selector)
        with progress_bar(output) as draw:
            ended = await api.wait(started.run, draw)
        check_ended_well(ended)
        plan = await api.preview(ended)
    document = {"run": ended.model_dump(mode="json"), **plan.model_dump(mode="json")}
    shown = views.preview(plan, with_words=with_words, with_diff=with_diff)
    output.result(document, lambda console: console.print(shown))
    output.say(f"carry it out: reinstate restore execute {ended.id}")


@app.command()
def execute(
    preview_run: Annotated[UUID, typer.Argument(help="The preview run's id.", show_default=False)],
    tenant: TenantOption,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for the tenant's name.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write what a preview showed to the tenant, and wait for the end."""
    with reporting(as_json) as output:
        if as_json and not yes:
            raise usage("--json cannot ask: add --yes")
        run(_execute(output, tenant, preview_run, confirmed=yes))


async def _execute(output: Output, tenant: UUID, preview_run: UUID, *, confirmed: bool) -> None:
    from cli import views

    async with client() as api:
        if not confirmed:
            await _confirm(output, api, tenant, preview_run)
        started = await api.start_restore(tenant, preview_run_id=preview_run)
        with progress_bar(output) as draw:
            ended = await api.wait(started.run, draw)
    check_ended_well(ended)
    document = {"created": started.created, "run": ended.model_dump(mode="json")}
    output.result(document, lambda console: console.print(views.run(ended)))


async def _confirm(output: Output, api: "Client", tenant: UUID, preview_run: UUID) -> None:
    from shared.domain.runs import RunType

    plan = await api.preview(await api.run(tenant, RunType.RESTORE, preview_run))
    name = await api.tenant_name(tenant)
    writes = sum(number for action, number in plan.actions.items() if action in ("create", "update"))
    output.say(f"{writes} objects will be written to {name}.")
    if typer.prompt("Type the tenant's name to go on", err=True) != name:
        raise CliFailure(
            "the name does not match: nothing was started", exit_code=ExitCode.USAGE, code="cli.not_confirmed"
        )
