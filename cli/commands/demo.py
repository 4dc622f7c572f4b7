"""`reinstate demo`: the main job once, on real servers, with a worker killed half-way and the proof at the end."""

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import CliFailure, ExitCode, JsonFlag, Output, reporting, run, usage

if TYPE_CHECKING:
    from cli.demo.proof import Proof
    from cli.demo.stage import Stage
    from cli.demo.story import Say


def demo(
    source: Annotated[Path | None, typer.Option(help="A folder of exported policies; default: our own sample.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Capture a simulated tenant, let it drift, preview, restore with a worker killed half-way, and prove it.

    Starts RabbitMQ, PostgreSQL and every service as real processes on free ports, and stops what it started. With
    --json the story goes to standard error and the last line of standard output is the proof. Exit code 0 only if it
    holds.
    """
    with reporting(as_json) as output:
        if source is not None and not source.is_dir():
            raise usage(f"{source} is no folder", code="folder.missing")
        if not run(_demo(output, source, keep=keep)):
            raise typer.Exit(ExitCode.FAILED)


async def _demo(output: Output, source: Path | None, *, keep: bool) -> bool:
    from cli.console import stderr, stdout
    from cli.demo.proof import Proof
    from cli.demo.stage import stage
    from cli.stack import StackError

    console = stderr() if output.as_json else stdout()
    proof = Proof(source.name if source else "sample")
    began = time.monotonic()
    console.print("[bold]Reinstate[/]: a capture, a drift, a preview, a restore and a killed worker, for real.")
    console.print("[bold]0[/] RabbitMQ, PostgreSQL, a simulated Microsoft Graph and the four services start.")
    try:
        async with stage(source) as built:
            console.print(
                f"  Servers after {built.stack_seconds:.1f} s, everything after {time.monotonic() - began:.1f} s."
            )
            await _play(built, proof, console.print)
            proof.stack_seconds = built.stack_seconds
            if keep:
                await _keep(built, console.print)
    except StackError as problem:
        raise CliFailure(str(problem), exit_code=ExitCode.FAILED, code="stack.failed") from None
    proof.duration_seconds = round(time.monotonic() - began, 2)
    if output.as_json:
        print(json.dumps(proof.document()))
    else:
        _show(proof)
    return not proof.failures


async def _play(built: "Stage", proof: "Proof", say: "Say") -> None:
    from cli.client import Client
    from cli.connection import progress_bar
    from cli.demo.story import Story

    async with Client(built.fleet.url, built.token) as client:
        with progress_bar(Output(as_json=False)) as progress:
            await Story(
                built.simulator, built.fleet, client, built.tenant_id, built.tenant, proof, say, progress
            ).tell()


async def _keep(built: "Stage", say: "Say") -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    say("\nEverything keeps running; Ctrl-C stops it. In another terminal:")
    say(f"  export REINSTATE_URL={built.fleet.url} REINSTATE_TOKEN={built.token} REINSTATE_TENANT={built.tenant_id}")
    await stop.wait()


def _show(proof: "Proof") -> None:
    """Print the proof: the numbers and, where one is wrong, which sentence does not hold."""
    from rich.table import Table

    from cli.console import stdout

    counts = proof.restore.get("counts", {})
    takeover = "nobody took over" if proof.takeover_seconds is None else f"{proof.takeover_seconds:.2f} s"
    rows = {
        "policies in the tenant / items in the backup": f"{proof.policies} / {proof.backup_items}",
        "writes during the preview": str(proof.preview.get("writes")),
        "planned: create, update, unchanged": ", ".join(
            str(proof.preview.get(a)) for a in ("create", "update", "unchanged")
        ),
        "restore": f"{proof.restore.get('status')}: {counts.get('succeeded')} good, {counts.get('failed')} failed",
        "one worker killed; another took over after": takeover,
        "most effective writes of one call of one item": str(proof.writes_per_item_max),
        "writes to other tenants": str(proof.other_tenants_writes),
        "runs / unread notifications": f"{proof.notifications.get('runs')} / {proof.notifications.get('unread')}",
        "second preview": ", ".join(f"{n} {action}" for action, n in proof.second_preview.items() if n),
        "taken back: as before the restore": "yes" if proof.undo.get("as_before") else "no",
        "seconds in all": f"{proof.duration_seconds:.1f}",
    }
    table = Table(title="The proof, from the tenant's own journal", title_justify="left", show_header=False)
    for name, value in rows.items():
        table.add_row(name, value)
    console = stdout()
    console.print()
    console.print(table)
    for sentence in proof.failures:
        console.print(f"[red]Does not hold:[/] {sentence}")
    if not proof.failures:
        console.print("[green]Every sentence of the proof holds.[/]")
