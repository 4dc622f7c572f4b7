"""`reinstate pause` and `reinstate resume`: let a tenant's work, or one kind of work, rest."""

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from cli.console import JsonFlag, Output, reporting, run, usage

if TYPE_CHECKING:
    from cli.models import Pause

TenantChoice = Annotated[
    UUID | None,
    typer.Option("--tenant", "-t", envvar="REINSTATE_TENANT", help="The tenant's id (default: every tenant)."),
]
OperationOption = Annotated[
    str | None, typer.Option(help="Only this operation, such as restore.execute (default: everything).")
]
ReasonOption = Annotated[str, typer.Option(help="Why; shown with every run that waits for it.", show_default=False)]


def pause(
    reason: ReasonOption, tenant: TenantChoice = None, operation: OperationOption = None, as_json: JsonFlag = False
) -> None:
    """Take up no run of a tenant, or of one operation. What is being worked stops between two items.

    With --tenant through the server, as a manager of that tenant. Without it for every tenant, in the database of
    DATABASE_URL; then name an operation.
    """
    with reporting(as_json) as output:
        run(_change(output, "pause", tenant, operation, reason))


def resume(
    reason: ReasonOption, tenant: TenantChoice = None, operation: OperationOption = None, as_json: JsonFlag = False
) -> None:
    """Lift a pause; the runs that waited go on, the one that waited longest first."""
    with reporting(as_json) as output:
        run(_change(output, "resume", tenant, operation, reason))


async def _change(output: Output, verb: str, tenant: UUID | None, operation: str | None, reason: str) -> None:
    from cli import views
    from cli.connection import client

    if not reason.strip():
        raise usage("say why: --reason TEXT")
    if tenant is None:
        paused = await _change_for_all(verb, operation, reason)
    else:
        async with client() as api:
            paused = await (api.pause if verb == "pause" else api.resume)(tenant, operation, reason)
    document = {"items": [one.model_dump(mode="json") for one in paused]}
    output.result(document, lambda console: console.print(views.pauses(paused)))


async def _change_for_all(verb: str, operation: str | None, reason: str) -> "list[Pause]":
    from dataclasses import asdict

    from cli.administration import actor, operation_pauses
    from cli.models import Pause
    from shared.domain.pauses import pausable

    if operation is None:
        raise usage("name a tenant (--tenant) or an operation (--operation)")
    word = pausable(operation)
    async with operation_pauses() as stored:
        if verb == "pause":
            await stored.add(word, reason=reason, paused_by=actor())
        else:
            await stored.remove(word, reason=reason, resumed_by=actor())
        return [Pause.model_validate(asdict(one)) for one in await stored.list()]
