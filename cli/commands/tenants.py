"""`reinstate tenant`: the tenants that are looked after, and how they are reached."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import EXIT_CODES, CliFailure, ExitCode, JsonFlag, Output, reporting, run, usage

if TYPE_CHECKING:
    from shared.connectors.folder.scan import ScanReport
    from shared.persistence.administration import TenantRow

app = typer.Typer(
    no_args_is_help=True, help="Add and list tenants (writes to the database of DATABASE_URL).", epilog=EXIT_CODES
)
_SECRET_WORDS = ("secret", "password", "token", "key")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="The tenant's name.", show_default=False)],
    directory_id: Annotated[str, typer.Option(help="The directory's id in its own system.", show_default=False)],
    connector: Annotated[str, typer.Option(help="How it is reached: graph or folder.")] = "graph",
    setting: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE of the connection, such as client_id=…; may be given several times."),
    ] = None,
    secret_ref: Annotated[
        str | None, typer.Option(help="Where the secret is: env:NAME or file:PATH. Never the secret itself.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Add a tenant."""
    with reporting(as_json) as output:
        connection = _connection(setting or [], secret_ref)
        _check(connector, directory_id, connection)
        run(_add(output, name, directory_id, connector, connection))


def _connection(settings: list[str], secret_ref: str | None) -> dict[str, str]:
    connection: dict[str, str] = {}
    for given in settings:
        key, separator, value = given.partition("=")
        if not separator or not key:
            raise usage("a setting is NAME=VALUE")
        if any(word in key.lower() for word in _SECRET_WORDS) and key != "secret_ref":
            raise usage(f"{key} looks like a secret, and secrets are not stored", next_step="use --secret-ref env:NAME")
        connection[key] = value
    if secret_ref:
        connection["secret_ref"] = secret_ref
    if not connection.get("secret_ref", "env:").startswith(("env:", "file:")):
        raise usage("a secret is named as env:NAME or file:PATH")
    return connection


def _check(connector: str, directory_id: str, connection: dict[str, str]) -> None:
    from shared.connectors.port import TenantConnection
    from shared.domain.errors import RunFatalError
    from shared.runtime.ids import new_id

    if connector == "folder":
        if not Path(connection.get("path", "")).is_dir():
            raise usage("a folder tenant needs --setting path=FOLDER", next_step="or use: reinstate tenant import")
        return
    if connector != "graph":
        raise usage("--connector is graph or folder")
    from shared.connectors.graph.settings import GraphSettings

    try:
        GraphSettings.of(TenantConnection(new_id(), connector, directory_id, connection))
    except RunFatalError as error:
        raise usage(f"the connection is not valid: {error.context.get('field')}", code=error.code.value) from None
    if "secret_ref" not in connection:
        raise usage("a graph tenant needs --secret-ref env:NAME or file:PATH")


async def _add(output: Output, name: str, directory_id: str, connector: str, connection: dict[str, str]) -> None:
    row = await _insert(name, directory_id, connector, connection)
    output.result(_document(row), lambda console: console.print(f"{row.name}: {row.id}"))


async def _insert(name: str, directory_id: str, connector: str, connection: dict[str, str]) -> "TenantRow":
    from cli.administration import administration

    async with administration() as admin:
        row = await admin.add_tenant(name, directory_id, connector, connection)
    if row is None:
        raise CliFailure(
            f"a tenant with the directory id {directory_id} is there already",
            exit_code=ExitCode.REFUSED,
            code="tenant.exists",
            next_step="see reinstate tenant list",
        )
    return row


@app.command("list")
def list_tenants(as_json: JsonFlag = False) -> None:
    """List every tenant."""
    with reporting(as_json) as output:
        run(_list(output))


async def _list(output: Output) -> None:
    from rich.text import Text

    from cli import views
    from cli.administration import administration

    async with administration() as admin:
        rows = await admin.tenants()
    made = views.table("tenant", "name", "connector", "directory", "status")
    for row in rows:
        made.add_row(str(row.id), Text(row.name), row.connector, Text(row.external_id), row.status)
    output.result({"items": [_document(row) for row in rows]}, lambda console: console.print(made))


@app.command("import")
def import_folder(
    folder: Annotated[Path, typer.Argument(help="A folder of exported policies.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="The tenant's name (default: the folder's).")] = None,
    directory_id: Annotated[str | None, typer.Option(help="The directory's id (default: folder:NAME).")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Add a folder of exported policies as a tenant. Files that are no policies are named, and the rest goes on."""
    with reporting(as_json) as output:
        from shared.connectors.folder.scan import scan

        report = scan(folder)
        if not report.policies:
            _show_problems(output, report)
            raise usage("the folder holds no policy", code="folder.not_a_policy")
        called = name or folder.resolve().name
        run(_import(output, folder.resolve(), called, directory_id or f"folder:{called}", report))


async def _import(output: Output, folder: Path, name: str, directory_id: str, report: "ScanReport") -> None:
    row = await _insert(name, directory_id, "folder", {"path": str(folder)})
    _show_problems(output, report)
    problems = [{"file": problem.file, "code": problem.code.value} for problem in report.problems]
    document = {**_document(row), "policies": len(report.policies), "problems": problems}
    sums = f"{len(report.policies)} policies, {len(report.problems)} files left out"
    output.result(document, lambda console: console.print(f"{row.name}: {row.id} ({sums})"))


def _show_problems(output: Output, report: "ScanReport") -> None:
    from rich.text import Text

    for problem in report.problems:
        output.say(Text(f"left out: {problem.file} ({problem.code.value})", style="yellow"))


def _document(row: "TenantRow") -> dict[str, object]:
    return {
        "id": str(row.id),
        "name": row.name,
        "directory_id": row.external_id,
        "connector": row.connector,
        "status": row.status,
    }
