"""`reinstate notifications`: what you have been told, in every tenant you belong to."""

from typing import Annotated
from uuid import UUID

import typer

from cli.connection import client
from cli.console import EXIT_CODES, JsonFlag, Output, reporting, run, usage

app = typer.Typer(
    no_args_is_help=True, help="Read what you have been told, in every tenant you belong to.", epilog=EXIT_CODES
)
NotificationArgument = Annotated[UUID, typer.Argument(help="The notification's id.", show_default=False)]


@app.command("list")
def list_notifications(
    unread: Annotated[bool, typer.Option("--unread", help="Only unread ones.")] = False,
    archived: Annotated[bool, typer.Option("--archived", help="Only archived ones.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, newest first.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """List notifications, newest first, with the counts."""
    with reporting(as_json) as output:
        run(_list(output, unread=unread, archived=archived, limit=limit))


async def _list(output: Output, *, unread: bool, archived: bool, limit: int) -> None:
    from rich.console import Group

    from cli import views

    async with client() as api:
        page = await api.notifications(unread_only=unread, archived=archived, limit=limit)
    sums = f"{page.counts.unread} unread of {page.counts.total}"
    shown = Group(views.notifications(page.items), sums)
    output.result(page.model_dump(mode="json"), lambda console: console.print(shown))


@app.command()
def read(
    notification_id: Annotated[UUID | None, typer.Argument(help="The notification's id.", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Mark all of them.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Mark one notification read, or all of them."""
    with reporting(as_json) as output:
        if everything == (notification_id is not None):
            raise usage("give either an id or --all")
        run(_read(output, notification_id))


async def _read(output: Output, notification_id: UUID | None) -> None:
    async with client() as api:
        if notification_id is None:
            changed = await api.read_all_notifications()
            output.result({"changed": changed}, lambda console: console.print(f"{changed} marked read"))
            return
        one = await api.read_notification(notification_id)
    output.result(one.model_dump(mode="json"), lambda console: console.print("marked read"))


@app.command()
def archive(notification_id: NotificationArgument, as_json: JsonFlag = False) -> None:
    """Put one notification away."""
    with reporting(as_json) as output:
        run(_archive(output, notification_id))


async def _archive(output: Output, notification_id: UUID) -> None:
    async with client() as api:
        one = await api.archive_notification(notification_id)
    output.result(one.model_dump(mode="json"), lambda console: console.print("archived"))
