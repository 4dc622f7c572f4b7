"""`reinstate dead`: messages that nobody could work with, and what to do about them."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from cli.console import EXIT_CODES, CliFailure, ExitCode, JsonFlag, Output, reporting, run, stderr, usage
from cli.durations import duration

if TYPE_CHECKING:
    from cli.dead_letters import Found, Outcome, Wanted

HELP = """Look at messages that nobody could work with, send them again, put them aside, drop them.

They wait in the queues SERVICE.dead, SERVICE.parked and unrouted of AMQP_URL, and in the outbox of DATABASE_URL. Sign
in to the broker as reinstate-operator: what others than our services sent is not believed about where it came from."""

app = typer.Typer(no_args_is_help=True, help=HELP, epilog=EXIT_CODES)

Service = Annotated[list[str] | None, typer.Option(help="Only of this service; may be given several times.")]
QueueName = Annotated[list[str] | None, typer.Option("--queue", help="Only in this queue, or outbox; repeatable.")]
Code = Annotated[list[str] | None, typer.Option(help="Only with this reason, such as message.undecodable.")]
Tenant = Annotated[UUID | None, typer.Option(help="Only of this tenant.")]
RunId = Annotated[UUID | None, typer.Option("--run", help="Only of this run.")]
MessageId = Annotated[list[str] | None, typer.Option(help="Only this message; may be given several times.")]
OlderThan = Annotated[str | None, typer.Option(help="Only those that wait longer: 90s, 15m, 2h, 7d.")]
NewerThan = Annotated[str | None, typer.Option(help="Only those that wait for less.")]
Limit = Annotated[int, typer.Option(min=1, help="At most so many.")]
Scan = Annotated[int, typer.Option(min=1, max=60_000, help="Look at so many messages of each queue, from its head.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the audit trail.", show_default=False)]
Everything = Annotated[bool, typer.Option("--all", help="Mean every dead message; needed without a filter.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say which messages it would be.")]
Rate = Annotated[float | None, typer.Option(min=0.1, help="At most so many messages a second.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command("list")
def list_letters(  # noqa: PLR0913, PLR0917  an argument for each option
    service: Service = None,
    queue: QueueName = None,
    code: Code = None,
    tenant: Tenant = None,
    run_id: RunId = None,
    message_id: MessageId = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    limit: Limit = 100,
    scan: Scan = 2000,
    as_json: JsonFlag = False,
) -> None:
    """List dead messages with reason, origin, age and run. Nothing is lost or moved by looking."""
    with reporting(as_json) as output:
        wanted = _wanted(service, queue, code, tenant, run_id, message_id, older_than, newer_than)
        _print(output, run(_find(wanted, limit, scan)))


@app.command()
def show(
    message_id: Annotated[str, typer.Argument(help="The message's id.", show_default=False)],
    body: Annotated[bool, typer.Option("--body", help="Print the content, too, if it is one of our messages.")] = False,
    scan: Scan = 2000,
    as_json: JsonFlag = False,
) -> None:
    """Show a message: reason, origin, headers, and the names of its fields."""
    with reporting(as_json) as output:
        from cli import dead_views
        from cli.dead_letters import Wanted

        found = run(_find(Wanted(message_ids=[message_id]), 100, scan))
        if not found.letters:
            raise CliFailure(
                f"no dead message has the id {message_id}",
                exit_code=ExitCode.REFUSED,
                code="resource.not_found",
                next_step="see reinstate dead list, or look at more with --scan",
            )
        documents = [dead_views.whole(letter, with_body=body) for letter in found.letters]
        output.result({"items": documents}, lambda console: console.print(dead_views.details(documents)))


def _settling(word: str, doc: str) -> None:
    """Add a command that takes messages off their queues: all of them read their options alike."""

    def command(  # noqa: PLR0913, PLR0917  an argument for each option
        reason: Reason,
        service: Service = None,
        queue: QueueName = None,
        code: Code = None,
        tenant: Tenant = None,
        run_id: RunId = None,
        message_id: MessageId = None,
        older_than: OlderThan = None,
        newer_than: NewerThan = None,
        everything: Everything = False,
        limit: Limit = 1000,
        scan: Scan = 2000,
        rate: Rate = None,
        dry_run: DryRun = False,
        yes: Yes = False,
        as_json: JsonFlag = False,
    ) -> None:
        with reporting(as_json) as output:
            wanted = _wanted(service, queue, code, tenant, run_id, message_id, older_than, newer_than)
            found = _meant(output, wanted, reason, limit, scan, everything=everything, asks=not (yes or dry_run))
            if dry_run:
                _print(output, found)
                return
            if found.letters and not yes:
                _confirm(word, found)
            _report(output, run(_settle(output, word, found, reason, scan, rate)))

    app.command(word, help=doc)(command)


_settling("replay", "Send messages again, under the same id, to where they were sent first. Mend the cause before.")
_settling("park", "Move messages from SERVICE.dead to SERVICE.parked, where they are kept as evidence.")
_settling("drop", "Delete messages for good.")


def _wanted(
    service: list[str] | None,
    queue: list[str] | None,
    code: list[str] | None,
    tenant: UUID | None,
    run_id: UUID | None,
    message_id: list[str] | None,
    older_than: str | None,
    newer_than: str | None,
) -> "Wanted":
    from cli.dead_letters import Wanted

    return Wanted(
        services=service or (),
        queues=queue or (),
        codes=code or (),
        tenant_id=tenant,
        run_id=run_id,
        message_ids=message_id or (),
        older_than=_duration(older_than),
        newer_than=_duration(newer_than),
    )


def _duration(text: str | None) -> timedelta | None:
    return None if text is None else duration(text)


async def _find(wanted: "Wanted", limit: int, scan: int) -> "Found":
    from cli.dead_letters import desk

    async with desk() as opened:
        return await opened.find(wanted, limit=limit, scan=scan)


def _print(output: Output, found: "Found") -> None:
    from cli import dead_views

    rows = [dead_views.short(letter) for letter in found.letters]
    document = {"items": rows, "total": found.total, "unseen": found.unseen}
    output.result(document, lambda console: console.print(dead_views.listed(rows, found)))


def _meant(
    output: Output, wanted: "Wanted", reason: str, limit: int, scan: int, *, everything: bool, asks: bool
) -> "Found":
    """Find what a command is about; refuse one that says too little."""
    from cli.dead_letters import Wanted

    if not reason.strip():
        raise usage("--reason needs a text")
    if wanted == Wanted() and not everything:
        raise usage("say which messages", next_step="give a filter, or --all")
    if output.as_json and asks:
        raise usage("--json cannot ask", next_step="add --yes or --dry-run")
    return run(_find(wanted, limit, scan))


def _confirm(word: str, found: "Found") -> None:
    from cli import dead_views

    rows = [dead_views.short(letter) for letter in found.letters]
    stderr().print(dead_views.listed(rows, found))
    typer.confirm(f"{word} {len(rows)} messages?", abort=True, err=True)


async def _settle(output: Output, word: str, found: "Found", reason: str, scan: int, rate: float | None) -> "Outcome":
    from cli.dead_letters import Action, Outcome, desk
    from cli.dead_views import progress

    if not found.letters:
        return Outcome()
    with progress(output, word, len(found.letters)) as step:
        async with desk() as opened:
            return await opened.settle(Action(word), found.letters, reason, scan=scan, rate=rate, progress=step)


def _report(output: Output, outcome: "Outcome") -> None:
    from cli import dead_views

    document = {
        "done": [dead_views.short(letter) for letter in outcome.done],
        "left": [{**dead_views.short(letter), "why": why} for letter, why in outcome.left],
        "stopped_by": outcome.stopped_by.code.value if outcome.stopped_by else None,
    }
    output.result(document, lambda console: console.print(dead_views.settled(outcome), soft_wrap=True))
    if outcome.stopped_by is not None:
        raise typer.Exit(ExitCode.UNREACHABLE)
    if outcome.left:
        raise typer.Exit(ExitCode.FAILED)
