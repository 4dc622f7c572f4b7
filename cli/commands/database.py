"""`reinstate db`: the database's schema."""

import typer

from cli.console import EXIT_CODES, JsonFlag, Output, reporting, run
from cli.settings import database_url

app = typer.Typer(no_args_is_help=True, help="Bring the database to the newest schema.", epilog=EXIT_CODES)


@app.command()
def migrate(as_json: JsonFlag = False) -> None:
    """Apply every migration that is missing."""
    with reporting(as_json) as output:
        run(_migrate(output))


async def _migrate(output: Output) -> None:
    from shared.persistence.migrate import current, upgrade

    url = database_url()
    before = await current(url)
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
