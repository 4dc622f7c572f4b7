"""`reinstate db`: the database's schema, its walls and who may log in."""

from typing import Annotated

import typer

from cli.console import EXIT_CODES, ExitCode, JsonFlag, Output, reporting, run, usage
from cli.settings import database_url, given_password

app = typer.Typer(
    no_args_is_help=True,
    help="Bring the database to the newest schema, and let the services in.",
    epilog=EXIT_CODES,
)


@app.command()
def migrate(as_json: JsonFlag = False) -> None:
    """Apply every migration that is missing, and raise the walls between tenants."""
    with reporting(as_json) as output:
        run(_migrate(output))


async def _migrate(output: Output) -> None:
    from cli.administration import entitled
    from shared.persistence.migrate import current, upgrade

    url = database_url()
    before = await current(url)
    with entitled(_WHO_MAY):
        await upgrade(url)
    after = await current(url)
    text = f"schema {after}" + (" (was there already)" if before == after else f" (was {before or 'empty'})")
    output.result({"before": before, "revision": after}, lambda console: console.print(text))


@app.command("current")
def show_current(as_json: JsonFlag = False) -> None:
    """Show the database's schema and the newest one; exit code 1 when they differ."""
    with reporting(as_json) as output:
        run(_current(output))


async def _current(output: Output) -> None:
    from shared.persistence.migrate import current
    from shared.persistence.revisions import HEAD

    revision = await current(database_url())
    output.result(
        {"revision": revision, "head": HEAD, "is_current": revision == HEAD},
        lambda console: console.print(f"schema {revision or 'empty'}, newest {HEAD}"),
    )
    if revision != HEAD:
        raise typer.Exit(1)


@app.command()
def check(as_json: JsonFlag = False) -> None:
    """Compare roles, rights and row-level security with what is declared; exit code 1 when they differ."""
    with reporting(as_json) as output:
        from shared.persistence.walls.logins import look

        found = [str(breach) for breach in run(look(database_url()))]
        text = "\n".join(found) or "the walls are as declared"
        output.result({"breaches": found}, lambda console: console.print(text, markup=False, highlight=False))
        if found:
            raise typer.Exit(ExitCode.FAILED)


@app.command()
def roles(
    renew: Annotated[
        bool, typer.Option("--renew", help="Give every role a new password; open sessions go on.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Let each service log in under a role of its own, and print the addresses, once.

    Passwords are made up unless REINSTATE_DB_PASSWORD_DISPATCHER, _RESTORE_WORKER, _BULK_WORKER, _NOTIFIER or
    _OPERATOR (administrators, with this command line) says one. Who has one already keeps it without --renew.
    DATABASE_URL is that of somebody who may alter these roles.
    """
    with reporting(as_json) as output:
        run(_roles(output, renew=renew))


async def _roles(output: Output, *, renew: bool) -> None:
    from cli.administration import entitled
    from shared.persistence.walls.logins import open_doors
    from shared.persistence.walls.roles import LOGINS

    given = {role: password for name, role in LOGINS.items() if (password := given_password(name))}
    try:
        with entitled(_WHO_MAY):
            opened = await open_doors(database_url(), given, renew=renew)
    except ValueError as error:
        raise usage(str(error), code="cli.setting_invalid") from None
    addresses = {name: opened.get(role) for name, role in LOGINS.items()}
    if opened:
        output.say("Each address holds a password, which is not shown again:")
    lines = "\n".join(f"{name}: {address or _KNOWN}" for name, address in addresses.items())
    output.result(
        {name: {"role": role.value, "database_url": addresses[name]} for name, role in LOGINS.items()},
        lambda console: console.print(lines, markup=False, highlight=False, soft_wrap=True),
    )


_KNOWN = "keeps its password (--renew gives a new one)"

_WHO_MAY = "use the address of who owns the tables and may create roles"
