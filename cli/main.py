"""The `reinstate` command: puts the commands together, and nothing else."""

import typer

from cli.commands import (
    backup,
    database,
    dead,
    demo,
    issuer,
    keys,
    moving,
    notifications,
    pauses,
    restore,
    runs,
    serve,
    stack,
    tenants,
    topology,
    users,
)
from cli.console import EXIT_CODES, ExitCode, JsonFlag, Output, reporting, run
from cli.logs import guarded

HELP = """Back up and restore the configuration of many customer tenants.

Commands for people and scripts talk to the server at REINSTATE_URL (default http://127.0.0.1:8080) as the user of
REINSTATE_TOKEN. Commands for administrators (db, topology, tenant, user, keys, dead, serve, doctor) use DATABASE_URL,
AMQP_URL, RABBITMQ_MANAGEMENT_URL and KEY_ENCRYPTION_KEYS."""

app = typer.Typer(
    no_args_is_help=True,
    help=HELP,
    epilog=EXIT_CODES,
    pretty_exceptions_enable=False,  # a trace that shows local variables would show tokens
)
backup.app.command("verify")(moving.verify)
backup.app.command("export")(moving.export)
backup.app.command("import")(moving.import_set)
app.add_typer(backup.app, name="backup")
app.add_typer(restore.app, name="restore")
app.add_typer(runs.app, name="runs")
app.add_typer(notifications.app, name="notifications")
app.add_typer(dead.app, name="dead")
app.add_typer(tenants.app, name="tenant")
app.add_typer(users.app, name="user")
app.add_typer(keys.app, name="keys")
app.add_typer(stack.app, name="stack")
app.add_typer(database.app, name="db")
app.add_typer(topology.app, name="topology")
app.add_typer(serve.simulate, name="simulate")
app.command("demo", epilog=EXIT_CODES)(demo.demo)
app.command("serve", epilog=EXIT_CODES)(serve.serve)
app.command("dev-issuer", epilog=EXIT_CODES)(issuer.dev_issuer)
app.command("pause", epilog=EXIT_CODES)(pauses.pause)
app.command("resume", epilog=EXIT_CODES)(pauses.resume)


@app.command(epilog=EXIT_CODES)
def doctor(as_json: JsonFlag = False) -> None:
    """Check what Reinstate needs, one line each, and say what to do; exit code 1 when something is wrong."""
    with reporting(as_json) as output:
        if not run(_doctor(output)):
            raise typer.Exit(ExitCode.FAILED)


async def _doctor(output: Output) -> bool:
    from dataclasses import asdict

    from rich.text import Text

    from cli.doctor import Health, examine

    findings = await examine()
    styles = {Health.OK: "green", Health.NOTE: "yellow", Health.WRONG: "red"}
    lines = Text("\n").join(
        Text.assemble(
            (f"{finding.health:<7}", styles[finding.health]),
            f"{finding.check:<12}{finding.detail}",
            (f"  → {finding.next_step}" if finding.next_step else "", "dim"),
        )
        for finding in findings
    )
    well = all(finding.health is not Health.WRONG for finding in findings)
    document = {"ok": well, "checks": [asdict(finding) for finding in findings]}
    output.result(document, lambda console: console.print(lines, soft_wrap=True))
    return well


def main() -> None:
    """Run the command line as a process."""
    guarded(app)


if __name__ == "__main__":
    main()
