"""`reinstate stack`: RabbitMQ and PostgreSQL on this machine, for trying things out."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import EXIT_CODES, CliFailure, ExitCode, JsonFlag, reporting

if TYPE_CHECKING:
    from cli.stack import Stack
    from cli.stack.state import State

app = typer.Typer(
    no_args_is_help=True,
    help="Start and stop a local RabbitMQ and PostgreSQL, for trying things out.",
    epilog=EXIT_CODES,
)


@app.command()
def up(
    env: Annotated[bool, typer.Option("--env", help='Print export lines: eval "$(reinstate stack up --env)".')] = False,
    as_json: JsonFlag = False,
) -> None:
    """Start the servers, or join them where they run."""
    with reporting(as_json) as output:
        from cli import stack

        try:
            started = stack.up()
        except stack.StackError as problem:
            raise CliFailure(str(problem), exit_code=ExitCode.FAILED, code="stack.failed") from None
        settings = {**_addresses(started.state), **_keys(started)}
        document = {"running": True, **settings}
        form = "export {}='{}'" if env else "{}={}"
        lines = "\n".join(form.format(name, value) for name, value in settings.items())
        output.result(document, lambda console: console.print(lines, markup=False, highlight=False))


@app.command()
def down(as_json: JsonFlag = False) -> None:
    """Stop the servers; their data stays."""
    with reporting(as_json) as output:
        from cli import stack

        was_running = stack.down()
        document = {"running": False, "was_running": was_running}
        output.result(document, lambda console: console.print("stopped" if was_running else "nothing was running"))


@app.command()
def status(as_json: JsonFlag = False) -> None:
    """Show whether the servers run, and where; exit code 1 when they do not."""
    with reporting(as_json) as output:
        from cli import stack

        found = stack.status()
        addresses = _addresses(found.state) if found.state else {}
        lines = "\n".join(f"{name}={value}" for name, value in addresses.items()) if found.running else "not running"
        document = {"running": found.running, **addresses}
        output.result(document, lambda console: console.print(lines, markup=False, highlight=False))
        if not found.running:
            raise typer.Exit(ExitCode.FAILED)


def _keys(stack: "Stack") -> dict[str, str]:
    return {"KEY_ENCRYPTION_KEYS": stack.key_encryption_keys} if stack.key_encryption_keys else {}


def _addresses(state: "State") -> dict[str, str]:
    return {
        "AMQP_URL": state.amqp_url,
        "DATABASE_URL": state.database_url,
        "RABBITMQ_MANAGEMENT_URL": state.management_url,
    }
