"""`reinstate topology`: the broker's exchanges, queues, bindings and policies."""

import json
from typing import Annotated

import typer

from cli.console import EXIT_CODES, JsonFlag, Output, reporting, run
from cli.settings import management_url, vhost

app = typer.Typer(
    no_args_is_help=True, help="Bring the broker in line with the topology, or say where it is not.", epilog=EXIT_CODES
)


@app.command()
def apply(as_json: JsonFlag = False) -> None:
    """Make what is missing and change what may change; deletes nothing."""
    with reporting(as_json) as output:
        run(_apply(output))


async def _apply(output: Output) -> None:
    from shared.messaging import topology_admin

    changes = [str(change) for change in await topology_admin.apply(management_url(), vhost())]
    shown = "\n".join(changes) or "nothing was to be done"
    output.result({"changes": changes}, lambda console: console.print(shown, markup=False, highlight=False))


@app.command()
def check(as_json: JsonFlag = False) -> None:
    """Name every difference between broker and topology; exit code 1 when there is one."""
    with reporting(as_json) as output:
        if run(_check(output)):
            raise typer.Exit(1)


async def _check(output: Output) -> int:
    from shared.messaging import topology_admin

    found = [str(difference) for difference in await topology_admin.check(management_url(), vhost())]
    shown = "\n".join(found) or "the broker is as it should be"
    output.result({"differences": found}, lambda console: console.print(shown, markup=False, highlight=False))
    return len(found)


@app.command()
def export(
    name: Annotated[str, typer.Option("--vhost", help="The virtual host to write into the definitions.")] = "/",
    as_json: JsonFlag = False,  # noqa: ARG001  the definitions are JSON in any case
) -> None:
    """Print the topology as RabbitMQ definitions."""
    from shared.messaging.topology import definitions

    print(json.dumps(definitions(name), indent=2))
