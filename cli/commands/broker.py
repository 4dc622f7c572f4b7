"""`reinstate broker`: the users of the broker, one for each service."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import EXIT_CODES, JsonFlag, Output, reporting, run, usage

if TYPE_CHECKING:
    from shared.messaging.rights import Role

app = typer.Typer(
    no_args_is_help=True,
    help="Give each service a user of its own on the broker, and no more rights than it needs.",
    epilog=EXIT_CODES,
)
Prefix = Annotated[str, typer.Option(help="What the users are called first; one for each installation of a broker.")]


@app.callback()
def broker() -> None:
    """Give each service a user of its own on the broker, and no more rights than it needs."""


@app.command()
def users(
    prefix: Prefix = "reinstate",
    rotate: Annotated[
        list[str] | None, typer.Option(help="Give this user a new password; may be repeated.", metavar="SERVICE")
    ] = None,
    write_to: Annotated[
        Path | None, typer.Option(help="A folder: write each new address to SERVICE.amqp-url there, print none.")
    ] = None,
    keep_guest: Annotated[bool, typer.Option("--keep-guest", help="Leave the broker's user guest.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make or correct every user with its rights and limits, and delete guest. New addresses are printed once.

    Passwords are generated, or taken from REINSTATE_BROKER_PASSWORDS, a JSON object by service. A second time changes
    nothing.
    """
    with reporting(as_json) as output:
        run(_users(output, prefix, rotate or [], write_to, keep_guest=keep_guest))


async def _users(output: Output, prefix: str, rotate: list[str], write_to: Path | None, *, keep_guest: bool) -> None:
    from cli.broker_logins import address_for, write_address
    from cli.settings import amqp_url, management_url, vhost
    from shared.messaging.broker_users import delete_guest, provision_users
    from shared.messaging.rights import Role, user_name

    roles = _roles(rotate)
    try:
        named = {user_name(role, prefix): role for role in Role}
    except ValueError as error:
        raise usage(str(error)) from None
    given = _given_passwords()
    url = amqp_url()
    if write_to:
        _check_folder(write_to)
    # First what may be refused: a password that was made and not shown would be lost.
    guest_deleted = False if keep_guest else await delete_guest(management_url())
    provisioned = await provision_users(management_url(), vhost(), prefix=prefix, passwords=given, rotate=roles)
    rows, lines = [], []
    for one in provisioned:
        role = named[one.user]
        address = address_for(one.login, url) if one.login.password else None
        if address and write_to:
            address = str(write_address(write_to, role.value, address))
        rows.append({"service": role.value, "user": one.user, "changes": one.changes, "address": address})
        lines.append(
            f"{one.user}: {', '.join(one.changes) or 'as it should be'}" + (f"\n  {address}" if address else "")
        )
    if guest_deleted:
        lines.append("guest: deleted")
    if any(row["address"] for row in rows) and not write_to:
        output.say("The addresses are not shown again.")
    output.result(
        {"users": rows, "guest_deleted": guest_deleted},
        lambda console: console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True),
    )


@app.command()
def disconnect(
    service: Annotated[list[str], typer.Argument(help="Whose connections to close.", show_default=False)],
    prefix: Prefix = "reinstate",
    as_json: JsonFlag = False,
) -> None:
    """Close what a service has open on the broker: it comes back at once, with the password of the moment."""
    with reporting(as_json) as output:
        run(_disconnect(output, service, prefix))


async def _disconnect(output: Output, services: list[str], prefix: str) -> None:
    from cli.settings import management_url
    from shared.messaging.broker_users import close_connections
    from shared.messaging.management import management_client
    from shared.messaging.rights import user_name

    users = [user_name(role, prefix) for role in _roles(services)]
    async with management_client(management_url()) as client:
        for user in users:
            await close_connections(client, user)
    output.result({"disconnected": users}, lambda console: console.print("\n".join(users)))


def _check_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise usage(f"{folder} is no folder: {error.strerror}", code="folder.missing") from None
    if not os.access(folder, os.W_OK):
        raise usage(f"{folder} cannot be written", code="folder.missing")


def _given_passwords() -> dict["Role", str]:
    from shared.messaging.rights import Role

    try:
        given = json.loads(os.environ.get("REINSTATE_BROKER_PASSWORDS") or "{}")
        return {Role(name): str(password) for name, password in given.items()}
    except (ValueError, AttributeError):
        wanted = f"a JSON object of passwords by service: {', '.join(Role)}"
        raise usage("REINSTATE_BROKER_PASSWORDS is wrong", next_step=wanted, code="cli.setting_invalid") from None


def _roles(names: list[str]) -> list["Role"]:
    from shared.messaging.rights import Role

    for name in names:
        if name not in set(Role):
            raise usage(f"there is no user {name}", next_step=f"it is one of {', '.join(Role)}")
    return [Role(name) for name in names]
