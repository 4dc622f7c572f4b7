"""`reinstate backup`: capture a tenant's policies into a backup set."""

from typing import Annotated, Any
from uuid import UUID

import typer

from cli.connection import TenantOption, WaitFlag, check_ended_well, client, progress_bar
from cli.console import EXIT_CODES, JsonFlag, Output, reporting, run, usage

app = typer.Typer(no_args_is_help=True, help="Capture a tenant's policies into backup sets.", epilog=EXIT_CODES)


@app.command()
def start(
    tenant: TenantOption,
    name: Annotated[str | None, typer.Option(help="A name for the backup set.")] = None,
    policy_type: Annotated[
        list[str] | None, typer.Option(help="Only this policy type; may be given several times.")
    ] = None,
    policy: Annotated[list[UUID] | None, typer.Option(help="Only this policy; may be given several times.")] = None,
    wait: WaitFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Refresh the inventory and capture everything, or a selection, into a new backup set."""
    with reporting(as_json) as output:
        if policy_type and policy:
            raise usage("give --policy-type or --policy, not both")
        selection = _selection(policy_type, policy)
        run(_start(output, tenant, name, selection, wait=wait))


def _selection(policy_type: list[str] | None, policy: list[UUID] | None) -> dict[str, Any]:
    if policy:
        return {"item_ids": policy}
    return {"selector": {"policy_types": policy_type} if policy_type else {"all": True}}


async def _start(output: Output, tenant: UUID, name: str | None, selection: dict[str, Any], *, wait: bool) -> None:
    from cli import views

    async with client() as api:
        started = await api.start_bulk(tenant, "backup_set.create", name=name, **selection)
        if not started.created:
            output.say(f"joined the run {started.run.id}, which does the same already")
        last = started.run
        if wait:
            with progress_bar(output) as draw:
                last = await api.wait(last, draw)
            check_ended_well(last)
    document = {"created": started.created, "run": last.model_dump(mode="json"), "backup_set_id": str(last.id)}
    output.result(document, lambda console: console.print(views.run(last)))
    if not wait:
        output.say(f"follow it: reinstate runs watch {last.id}")


@app.command("list")
def list_sets(tenant: TenantOption, as_json: JsonFlag = False) -> None:
    """List the tenant's backup sets, newest first."""
    with reporting(as_json) as output:
        run(_list(output, tenant))


async def _list(output: Output, tenant: UUID) -> None:
    from rich.text import Text

    from cli import views

    async with client() as api:
        sets = [one async for one in api.backup_sets(tenant)]
    made = views.table("backup set", "name", "items", "created")
    for one in sets:
        made.add_row(str(one.id), Text(one.name), str(one.items), one.created_at.strftime("%Y-%m-%d %H:%M:%S"))
    output.result({"items": [one.model_dump(mode="json") for one in sets]}, lambda console: console.print(made))
