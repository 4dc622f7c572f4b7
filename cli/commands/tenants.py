"""`reinstate tenant`: the tenants that are looked after, and how they are reached."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import EXIT_CODES, CliFailure, ExitCode, JsonFlag, Output, reporting, run, usage

if TYPE_CHECKING:
    from pydantic import SecretStr

    from shared.connectors.folder.scan import ScanReport
    from shared.persistence.administration import TenantRow

app = typer.Typer(
    no_args_is_help=True, help="Add and list tenants (writes to the database of DATABASE_URL).", epilog=EXIT_CODES
)
STORED = "stored:"
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
    secret_stdin: Annotated[
        bool, typer.Option("--secret-stdin", help="Read the secret from standard input, and store it encrypted.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Add a tenant."""
    with reporting(as_json) as output:
        if secret_stdin and secret_ref:
            raise usage("give --secret-ref or --secret-stdin, not both")
        connection = _connection(setting or [], STORED if secret_stdin else secret_ref, stored=secret_stdin)
        _check(connector, directory_id, connection)
        secret = _given_secret() if secret_stdin else None
        run(_add(output, name, directory_id, connector, connection, secret))


@app.command("set-secret")
def set_secret(
    tenant: Annotated[str, typer.Argument(help="The tenant's id, directory id or name.", show_default=False)],
    as_json: JsonFlag = False,
) -> None:
    """Read a tenant's secret from standard input and store it encrypted, in the place of the one it had."""
    with reporting(as_json) as output:
        run(_set_secret(output, tenant, _given_secret()))


@app.command()
def shred(
    tenant: Annotated[str, typer.Argument(help="The tenant's id, directory id or name.", show_default=False)],
    confirm: Annotated[str | None, typer.Option(help="The tenant's name, typed out; asked for without it.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Destroy a tenant's keys: its snapshots, plans, exports and stored secret can never be read again.

    The tenant is offboarded with it. Copies of the database that are older still hold the keys, wrapped: throw them
    away, or the key-encryption key that wraps them.
    """
    with reporting(as_json) as output:
        run(_shred(output, tenant, confirm))


def _connection(settings: list[str], secret_ref: str | None, *, stored: bool = False) -> dict[str, str]:
    connection: dict[str, str] = {}
    for given in settings:
        key, separator, value = given.partition("=")
        if not separator or not key:
            raise usage("a setting is NAME=VALUE")
        if any(word in key.lower() for word in _SECRET_WORDS) and key != "secret_ref":
            raise usage(
                f"{key} looks like a secret, and secrets are not stored",
                next_step="use --secret-ref env:NAME, or --secret-stdin",
            )
        connection[key] = value
    if secret_ref:
        connection["secret_ref"] = secret_ref
    if not stored and not connection.get("secret_ref", "env:").startswith(("env:", "file:")):
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
        raise usage("a graph tenant needs --secret-ref env:NAME or file:PATH, or --secret-stdin")


async def _add(
    output: Output,
    name: str,
    directory_id: str,
    connector: str,
    connection: dict[str, str],
    secret: "SecretStr | None",
) -> None:
    from cli.administration import key_administration, key_ring

    if secret is not None:
        key_ring()  # before the tenant is there: a wrong setting must not leave one without its secret
    row = await _insert(name, directory_id, connector, connection)
    if secret is not None:
        async with key_administration() as keys:
            await keys.store_credential(row.id, secret.get_secret_value())
    output.result(_document(row), lambda console: console.print(f"{row.name}: {row.id}"))


async def _set_secret(output: Output, wanted: str, secret: "SecretStr") -> None:
    from cli.administration import administration, key_administration, tenant_named

    async with administration() as admin:
        row = await tenant_named(admin, wanted)
    if row.connector != "graph":
        raise usage(f"a {row.connector} tenant needs no secret")
    async with key_administration() as keys:
        await keys.store_credential(row.id, secret.get_secret_value())
    output.result(_document(row), lambda console: console.print(f"{row.name}: the secret is stored", markup=False))


async def _shred(output: Output, wanted: str, confirm: str | None) -> None:
    from cli.administration import administration, key_administration, tenant_named

    async with administration() as admin:
        row = await tenant_named(admin, wanted)
    if confirm is None and not output.as_json and sys.stdin.isatty():
        confirm = typer.prompt(f"Everything stored of {row.name} becomes unreadable for good. Its name", err=True)
    if confirm != row.name:
        raise usage("nothing was destroyed: the name that was typed is not the tenant's", next_step="--confirm NAME")
    async with key_administration() as keys:
        destroyed = await keys.shred(row.id)
    document = {**_document(row), "status": "offboarded", "destroyed_keys": destroyed}
    output.result(document, lambda console: console.print(f"{row.name}: {destroyed} keys destroyed", markup=False))


def _given_secret() -> "SecretStr":
    """Read the secret without showing it; one line break at its end is not part of it."""
    import getpass

    from pydantic import SecretStr

    from shared.connectors.graph.settings import SECRET_LIMIT

    given = getpass.getpass("Secret: ") if sys.stdin.isatty() else sys.stdin.read(SECRET_LIMIT + 1)
    secret = given.strip()
    if not secret or len(given) > SECRET_LIMIT or not secret.isprintable():
        raise usage(f"the secret on standard input must be one line of at most {SECRET_LIMIT} characters")
    return SecretStr(secret)


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
