"""`reinstate upstream`: systems that may send commands over the broker, their keys and their rights."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.console import EXIT_CODES, JsonFlag, Output, reporting, run, usage
from cli.durations import duration

if TYPE_CHECKING:
    from shared.persistence.upstream_administration import UpstreamRow

HELP = """Register systems that send commands over the broker, give them keys, and take them away.

Writes to the registry in the database of DATABASE_URL and makes users on the broker of RABBITMQ_MANAGEMENT_URL. Private
keys and passwords are printed once and stored nowhere."""

app = typer.Typer(no_args_is_help=True, help=HELP, epilog=EXIT_CODES)

Name = Annotated[str, typer.Argument(help="The upstream's name: a-z, 0-9, _, . and -.", show_default=False)]
ValidFor = Annotated[str, typer.Option(help="How long the key is good: 90d, 12h.")]
PublicKey = Annotated[
    str | None, typer.Option(help="The public half of a key pair that the upstream made itself, in base64url.")
]
KeyFile = Annotated[
    Path | None,
    typer.Option(help="Write key and password into this new file, readable by its owner only, instead of printing."),
]
Broker = Annotated[
    bool, typer.Option("--broker/--no-broker", help="Also make or delete the user on the broker, with its rights.")
]


@app.command()
def add(  # noqa: PLR0913, PLR0917  an argument for each option
    name: Name,
    tenant: Annotated[
        list[str] | None, typer.Option(help="A tenant that it may act for: id, directory id or name; repeatable.")
    ] = None,
    operation: Annotated[
        list[str] | None, typer.Option(help="What it may start, such as policy.sync, or run.abort; repeatable.")
    ] = None,
    all_tenants: Annotated[bool, typer.Option("--all-tenants", help="It may act for every tenant.")] = False,
    valid_for: ValidFor = "365d",
    public_key: PublicKey = None,
    key_file: KeyFile = None,
    broker: Broker = True,
    as_json: JsonFlag = False,
) -> None:
    """Register an upstream: its tenants and operations, its key, its user on the broker."""
    with reporting(as_json) as output:
        from cli import upstreams

        async def register() -> dict[str, Any]:
            granted = await upstreams.grants(tenant or [], operation or [], all_tenants=all_tenants)
            return await upstreams.add(name, granted, pair, with_broker=broker)

        pair = upstreams.KeyPair.made(public_key, _lifetime(valid_for))
        with upstreams.secret_file(key_file) as file:
            document = run(register())
            if file is not None:
                file.write(document)
        _show_secrets(output, document, key_file)


@app.command()
def rotate(
    name: Name,
    overlap: Annotated[str, typer.Option(help="How long the keys of now stay good, at most: 7d, 12h, 0s.")] = "7d",
    valid_for: ValidFor = "365d",
    public_key: PublicKey = None,
    password: Annotated[bool, typer.Option("--password", help="Also a new password on the broker, at once.")] = False,
    key_file: KeyFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Give an upstream another key. The old one stays good for a while, so that nothing is lost meanwhile."""
    with reporting(as_json) as output:
        from cli import upstreams

        pair = upstreams.KeyPair.made(public_key, _lifetime(valid_for))
        with upstreams.secret_file(key_file) as file:
            document = run(upstreams.rotate(name, pair, overlap=duration(overlap), with_password=password))
            if file is not None:
                file.write(document)
        _show_secrets(output, document, key_file)


@app.command()
def revoke(
    name: Name,
    key: Annotated[list[str] | None, typer.Option(help="Only this key; may be given several times.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Revoke an upstream's keys: from now on nothing that they signed is taken, whenever it was."""
    with reporting(as_json) as output:
        from cli import upstreams

        revoked = run(upstreams.revoke(name, key or []))
        document = {"upstream": name, "revoked": revoked}
        output.result(document, lambda console: console.print("\n".join(revoked) or "nothing", markup=False))


@app.command()
def remove(name: Name, broker: Broker = True, as_json: JsonFlag = False) -> None:
    """Revoke all keys of an upstream, delete its user on the broker, and take it off the list."""
    with reporting(as_json) as output:
        from cli import upstreams

        had_user = run(upstreams.remove(name, with_broker=broker))
        document = {"upstream": name, "removed": True, "broker_user_deleted": had_user}
        output.result(document, lambda console: console.print(f"{name} is removed", markup=False, highlight=False))


@app.command("list")
def list_upstreams(as_json: JsonFlag = False) -> None:
    """List upstreams with their rights and keys."""
    with reporting(as_json) as output:
        from rich.text import Text

        from cli import upstreams, views

        rows = run(upstreams.listed())
        made = views.table("upstream", "tenants", "operations", "key", "good until", "state")
        for row in rows:
            for key in row.keys:
                tenants = "all" if row.grants.tenants is None else str(len(row.grants.tenants))
                until = key.valid_until.isoformat(timespec="minutes")
                operations = Text(", ".join(sorted(row.grants.operations)))
                made.add_row(Text(row.name), tenants, operations, Text(key.id), until, key.state)
        output.result({"items": [_document(row) for row in rows]}, lambda console: console.print(made))


def _lifetime(text: str) -> timedelta:
    lifetime = duration(text)
    if not lifetime:
        raise usage("a key is good for more than no time")
    return lifetime


def _show_secrets(output: Output, document: dict[str, Any], key_file: Path | None) -> None:
    """Print key and password, unless they went into a file."""
    if key_file is not None:
        shown = {**document, "signing_key": None, "broker_password": None, "key_file": str(key_file)}
        output.result(shown, lambda console: console.print(f"{document['key_id']}: {key_file}", markup=False))
        return
    output.say("Key and password are not shown again:")
    lines = [f"{name}: {document[name]}" for name in _SHOWN if document.get(name)]
    output.result(document, lambda console: console.print("\n".join(lines), markup=False, highlight=False))


_SHOWN = ("key_id", "signing_key", "valid_until", "broker_user", "broker_password")


def _document(row: "UpstreamRow") -> dict[str, Any]:
    grants = row.grants
    return {
        "upstream": row.name,
        "tenants": "all" if grants.tenants is None else sorted(str(one) for one in grants.tenants),
        "operations": sorted(grants.operations),
        "keys": [
            {
                "id": key.id,
                "valid_from": key.valid_from.isoformat(),
                "valid_until": key.valid_until.isoformat(),
                "state": key.state,
            }
            for key in row.keys
        ],
    }
