"""`reinstate restore`: see what a restore would do, then do exactly that."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from cli.connection import TenantOption, check_ended_well, client, progress_bar
from cli.console import EXIT_CODES, CliFailure, ExitCode, JsonFlag, Output, reporting, run, usage
from shared.domain.restore_options import Assignments, Match

if TYPE_CHECKING:
    from cli.client import Client
    from cli.models import Run


MatchOption = Annotated[Match | None, typer.Option(help="What becomes of live objects: overwrite unless given.")]
AssignmentsOption = Annotated[
    Assignments | None, typer.Option(help="Restore who gets the policies, too: with unless given; a copy without.")
]
SuffixOption = Annotated[
    str | None, typer.Option(help="Of the name of a copy: ' (restored)' unless given.", show_default=False)
]
TargetOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Which live object a backup item is, where several may be meant; several times.", metavar="ITEM=REMOTE_ID"
    ),
]
WordsFlag = Annotated[bool, typer.Option("--words/--no-words", help="Say beneath each object what would change.")]
DiffFlag = Annotated[bool, typer.Option("--diff", help="Show the JSON Patch of each object, too.")]
app = typer.Typer(no_args_is_help=True, help="Preview a restore, then carry the preview out.", epilog=EXIT_CODES)


@app.command()
def preview(  # noqa: PLR0913, PLR0917  typer reads one parameter per option
    backup_set: Annotated[UUID, typer.Argument(help="The backup set's id.", show_default=False)],
    tenant: TenantOption,
    item: Annotated[list[UUID] | None, typer.Option(help="Only this backup item; may be given several times.")] = None,
    policy_type: Annotated[list[str] | None, typer.Option(help="Only this policy type; several times.")] = None,
    match: MatchOption = None,
    assignments: AssignmentsOption = None,
    copy_suffix: SuffixOption = None,
    target: TargetOption = None,
    words: WordsFlag = True,
    diff: DiffFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Show what a restore of a backup set would do. Writes nothing to the tenant."""
    with reporting(as_json) as output:
        if item and policy_type:
            raise usage("give --item or --policy-type, not both")
        options: dict[str, Any] = {
            "match": match,
            "assignments": assignments,
            "copy_suffix": copy_suffix,
            "targets": _targets(target or ()),
        }
        scope: dict[str, Any] = {
            "backup_set_id": backup_set,
            "item_ids": item,
            "selector": {"policy_types": policy_type} if policy_type else None,
            "options": {name: value for name, value in options.items() if value not in (None, {})},
        }
        run(_preview(output, tenant, scope, with_words=words, with_diff=diff))


def _targets(words: Sequence[str]) -> dict[str, str]:
    """Read `ITEM=REMOTE_ID`; an item that is named twice is a mistake, not a choice."""
    targets: dict[str, str] = {}
    for word in words:
        item, _, remote_id = word.partition("=")
        try:
            key = str(UUID(item))
        except ValueError:
            key = ""
        if not key or not remote_id or key in targets:
            raise usage("--target takes ITEM=REMOTE_ID, the id of a backup item once and the id of a live object")
        targets[key] = remote_id
    return targets


async def _preview(output: Output, tenant: UUID, scope: dict[str, Any], *, with_words: bool, with_diff: bool) -> None:
    async with client() as api:
        started = await api.start_restore(tenant, **scope)
        await _show_preview(output, api, started.run, with_words=with_words, with_diff=with_diff)


async def _show_preview(
    output: Output, api: "Client", preview_run: "Run", *, with_words: bool, with_diff: bool
) -> None:
    """Wait for a preview's end and show its plan."""
    from cli import views

    with progress_bar(output) as draw:
        ended = await api.wait(preview_run, draw)
    check_ended_well(ended)
    plan = await api.preview(ended)
    document = {"run": ended.model_dump(mode="json"), **plan.model_dump(mode="json")}
    shown = views.preview(plan, with_words=with_words, with_diff=with_diff)
    output.result(document, lambda console: console.print(shown))
    exactly = f" --plan-hash {plan.plan_hash}" if plan.plan_hash else ""
    output.say(f"carry it out: reinstate restore execute {ended.id}{exactly}")


@app.command()
def undo(
    execution: Annotated[UUID, typer.Argument(help="The id of the execution to take back.", show_default=False)],
    tenant: TenantOption,
    words: WordsFlag = True,
    diff: DiffFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Show the way back from an execution: updates reversed, what it created deleted. Writes nothing to the tenant.

    What others changed since is left alone. Carry it out with `restore execute`.
    """
    with reporting(as_json) as output:
        run(_undo(output, tenant, execution, with_words=words, with_diff=diff))


async def _undo(output: Output, tenant: UUID, execution: UUID, *, with_words: bool, with_diff: bool) -> None:
    async with client() as api:
        started = await api.undo(tenant, execution)
        await _show_preview(output, api, started.run, with_words=with_words, with_diff=with_diff)


@app.command()
def execute(
    preview_run: Annotated[UUID, typer.Argument(help="The preview run's id.", show_default=False)],
    tenant: TenantOption,
    plan_hash: Annotated[
        str | None,
        typer.Option(help="The plan that was looked at; else the one that is shown now.", show_default=False),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for the tenant's name.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write what a preview showed to the tenant, and wait for the end."""
    with reporting(as_json) as output:
        if as_json and not yes:
            raise usage("--json cannot ask: add --yes")
        run(_execute(output, tenant, preview_run, plan_hash, confirmed=yes))


async def _execute(output: Output, tenant: UUID, preview_run: UUID, plan_hash: str | None, *, confirmed: bool) -> None:
    from cli import views
    from shared.domain.runs import RunType

    async with client() as api:
        if not confirmed:
            shown = await _confirm(output, api, tenant, preview_run)
            plan_hash = plan_hash or shown
        elif plan_hash is None:
            plan_hash = await api.plan_hash(await api.run(tenant, RunType.RESTORE, preview_run))
        started = await api.start_restore(tenant, preview_run_id=preview_run, plan_hash=plan_hash)
        with progress_bar(output) as draw:
            ended = await api.wait(started.run, draw)
    check_ended_well(ended)
    document = {"created": started.created, "run": ended.model_dump(mode="json")}
    output.result(document, lambda console: console.print(views.run(ended)))


async def _confirm(output: Output, api: "Client", tenant: UUID, preview_run: UUID) -> str | None:
    """Ask for the tenant's name; return the hash of the plan that was shown."""
    from shared.domain.runs import RunType

    plan = await api.preview(await api.run(tenant, RunType.RESTORE, preview_run))
    name = await api.tenant_name(tenant)
    writes = sum(number for action, number in plan.actions.items() if action in ("create", "update"))
    output.say(f"{writes} objects will be written to {name}.")
    if deletes := plan.actions.get("delete"):
        output.say(f"{deletes} objects that a restore created will be deleted.")
    if found := ", ".join(f"{number} {word}" for word, number in plan.checks.items() if number):
        output.say(f"Checks: {found}. They do not prove that the restore does what you want.")
    if typer.prompt("Type the tenant's name to go on", err=True) != name:
        raise CliFailure(
            "the name does not match: nothing was started", exit_code=ExitCode.USAGE, code="cli.not_confirmed"
        )
    return plan.plan_hash
