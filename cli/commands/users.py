"""`reinstate user`: who may sign in, and where they belong."""

from typing import Annotated

import typer

from cli.console import EXIT_CODES, CliFailure, ExitCode, JsonFlag, Output, reporting, run, usage
from cli.settings import DEFAULT_URL

app = typer.Typer(
    no_args_is_help=True, help="Add users and link them (writes to the database of DATABASE_URL).", epilog=EXIT_CODES
)


@app.callback()
def users() -> None:
    """Add users and link them (writes to the database of DATABASE_URL)."""


@app.command()
def add(
    email: Annotated[str, typer.Argument(help="The user's e-mail address.", show_default=False)],
    tenant: Annotated[str, typer.Option(help="The tenant's id, directory id or name.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="The user's name (default: the address).")] = None,
    role: Annotated[str, typer.Option(help="readonly, operator, manager or owner.")] = "operator",
    new_token: Annotated[bool, typer.Option("--token/--no-token", help="Make a new token and print it once.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Add a user to a tenant and print the token, once. A known user gets the role in one more tenant."""
    with reporting(as_json) as output:
        run(_add(output, email, tenant, name or email, role, new_token=new_token))


async def _add(output: Output, email: str, tenant: str, name: str, role: str, *, new_token: bool) -> None:
    import hashlib
    import secrets

    from cli.administration import administration, tenant_named
    from shared.domain.operations import Role

    if role not in set(Role):
        raise usage(f"a role is one of {', '.join(Role)}")
    if "@" not in email.strip("@"):
        raise usage("that is no e-mail address")
    token = secrets.token_urlsafe(32) if new_token else None
    digest = hashlib.sha256(token.encode()).hexdigest() if token else None
    async with administration() as admin:
        found = await tenant_named(admin, tenant)
        added = await admin.add_user(email.strip().lower(), name, found.id, Role(role), token_sha256=digest)
    document = {"id": str(added.id), "created": added.created, "tenant_id": str(found.id), "role": role, "token": token}
    output.say(f"{email} is {role} of {found.name}." + (" The token is not shown again:" if token else ""))
    output.result(document, lambda console: console.print(token or str(added.id), markup=False, highlight=False))


@app.command("sign-in-link")
def sign_in_link(
    user: Annotated[str, typer.Argument(help="The user's e-mail address or id.", show_default=False)],
    valid_for: Annotated[str, typer.Option(help="How long it works: 1m to 24h, such as 90s, 10m or 2h.")] = "10m",
    url: Annotated[str, typer.Option(envvar="CONSOLE_URL", help="Where browsers reach the console.")] = DEFAULT_URL,
    as_json: JsonFlag = False,
) -> None:
    """Print a link that signs a user in to the console, once. Its five newest links work; give it to nobody else."""
    from cli.signing_in import length_of, make_link

    with reporting(as_json) as output:
        run(make_link(output, user, base=url, valid_for=length_of(valid_for)))


@app.command()
def link(
    email: Annotated[str, typer.Argument(help="The user's e-mail address.", show_default=False)],
    subject: Annotated[
        str, typer.Option(help="The user's name at the issuer: its OIDC_USER_CLAIM.", show_default=False)
    ],
    issuer: Annotated[
        str, typer.Option(envvar="OIDC_ISSUER", help="The issuer, as its tokens name it.", show_default=False)
    ],
    replace: Annotated[bool, typer.Option("--replace", help="Also where the user is linked already.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Let a user sign in with an OpenID Connect issuer. A link is made once; --replace changes it."""
    with reporting(as_json) as output:
        run(_link(output, email, issuer, subject, replace=replace))


async def _link(output: Output, email: str, issuer: str, subject: str, *, replace: bool) -> None:
    from cli.administration import administration
    from shared.persistence.administration import Link

    address, known_as = email.strip().lower(), subject.strip()
    if not known_as or not known_as.isprintable() or not issuer.strip():
        raise usage("a link needs a subject and an issuer")
    async with administration() as admin:
        outcome = await admin.link_user(address, issuer.strip(), known_as, replace=replace)
    match outcome:
        case Link.NO_USER:
            raise usage(f"there is no user {email}", next_step="reinstate user add")
        case Link.USER_TAKEN:
            raise _refused(f"{email} is linked already", "pass --replace to change the link")
        case Link.SUBJECT_TAKEN:
            raise _refused("another user is linked to this subject", "look up the subject at the issuer")
        case _:
            pass
    document = {"email": address, "issuer": issuer.strip(), "subject": known_as}
    output.result(document, lambda console: console.print(f"{email} may sign in.", markup=False, highlight=False))


def _refused(message: str, next_step: str) -> CliFailure:
    return CliFailure(message, exit_code=ExitCode.REFUSED, code="user.linked", next_step=next_step)
