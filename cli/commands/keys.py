"""`reinstate keys`: what wraps the tenants' data keys, and replacing it."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import EXIT_CODES, CliFailure, ExitCode, JsonFlag, Output, reporting, run

if TYPE_CHECKING:
    from shared.persistence.key_administration import KeyFacts

app = typer.Typer(
    no_args_is_help=True,
    help="Look at keys and replace them (DATABASE_URL and KEY_ENCRYPTION_KEYS). Services need not stop.",
    epilog=EXIT_CODES,
)


@app.command()
def status(as_json: JsonFlag = False) -> None:
    """Show what each key-encryption key still wraps; exit code 1 when one of them is not set here."""
    with reporting(as_json) as output:
        run(_status(output))


async def _status(output: Output) -> None:
    from rich.text import Text

    from cli import views
    from cli.administration import key_administration, key_ring

    ring = key_ring()
    async with key_administration() as admin:
        facts = await admin.facts()
    wrapped = {use.kek_id: use for use in facts.uses}
    made = views.table("key-encryption key", "set here", "data keys", "tenants")
    for kek_id in sorted(wrapped.keys() | ring.wrappers.keys()):
        use = wrapped.get(kek_id)
        word = "active" if kek_id == ring.active else "yes" if kek_id in ring.wrappers else "no"
        made.add_row(Text(kek_id), word, str(use.data_keys if use else 0), str(use.tenants if use else 0))
    missing = sorted(wrapped.keys() - ring.wrappers.keys())
    output.result(
        {"active": ring.active, "set": sorted(ring.wrappers), "missing": missing, **_document(facts)},
        lambda console: console.print(made),
    )
    if missing:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def rotate(as_json: JsonFlag = False) -> None:
    """Wrap every data key by the first key of KEY_ENCRYPTION_KEYS. May be stopped anywhere and started again.

    Services must know the new key first, behind the old one and then in front of it: docs/how-to has the steps.
    Afterwards the old one is not needed any more, except for copies of the database that are older.
    """
    with reporting(as_json) as output:
        run(_rotate(output))


async def _rotate(output: Output) -> None:
    from cli.administration import key_administration, key_ring

    active = key_ring().active
    done = left = 0
    async with key_administration() as admin:
        async for step in admin.rewrap():
            done, left = done + step.done, left + step.left
    text = f"{done} data keys are wrapped by {active} now" + (f"; {left} could not be opened" if left else "")
    output.result(
        {"active": active, "rewrapped": done, "left": left}, lambda console: console.print(text, markup=False)
    )
    if left:
        raise CliFailure(
            f"{left} data keys are wrapped by a key that is not set here",
            exit_code=ExitCode.FAILED,
            code="key.unavailable",
            next_step="see which: reinstate keys status",
        )


@app.command("rotate-tenant")
def rotate_tenant(
    tenant: Annotated[str, typer.Argument(help="The tenant's id, directory id or name.", show_default=False)],
    as_json: JsonFlag = False,
) -> None:
    """Begin a new data key for what is stored of a tenant from now on; what is stored already opens as before."""
    with reporting(as_json) as output:
        run(_rotate_tenant(output, tenant))


async def _rotate_tenant(output: Output, wanted: str) -> None:
    from cli.administration import administration, key_administration, tenant_named

    async with administration() as admin:
        found = await tenant_named(admin, wanted)
    async with key_administration() as keys:
        generation = await keys.begin_generation(found.id)
    output.result(
        {"tenant_id": str(found.id), "generation": generation},
        lambda console: console.print(f"{found.name}: generation {generation}", markup=False),
    )


def _document(facts: "KeyFacts") -> dict[str, object]:
    return {
        "wraps": [{"key": use.kek_id, "data_keys": use.data_keys, "tenants": use.tenants} for use in facts.uses],
        "tenants": facts.tenants,
        "shredded_tenants": facts.shredded_tenants,
        "most_uses_of_a_key": facts.most_uses,
    }
