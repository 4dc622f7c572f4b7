"""`reinstate audit`: whether the audit trail is as it was written, and copies of it for others."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from cli.console import EXIT_CODES, ExitCode, JsonFlag, Output, reporting, run, usage

if TYPE_CHECKING:
    from shared.domain.audit_export import Verdict

HELP = """Verify, export and anchor the audit trail (reads the database of DATABASE_URL, of every tenant).

Each tenant's rows are a chain of hashes. Anchors are what its end was at some time: kept where nobody who can write
to the database can write, they show that rows were cut off, or that a chain was written anew."""

app = typer.Typer(no_args_is_help=True, help=HELP, epilog=EXIT_CODES)

Tenant = Annotated[UUID | None, typer.Option(help="Only this tenant's trail; all zeros is the house's own.")]
_SAID = {
    "changed": "its contents are not what its hash was made of",
    "rewritten": "it is not the row that the next one, or the chain's end, was chained to",
    "missing": "it is missing",
    "out_of_place": "it stands where another row belongs",
    "not_appended": "it stands behind the end of the chain",
    "head_missing": "it is the last one, and the chain's end is not noted any more",
    "not_anchored_so": "another row was anchored with this number: the chain was written anew",
    "anchor_forged": "its anchor was not signed by the key",
}


@app.command()
def verify(
    file: Annotated[
        Path | None, typer.Argument(help="An export, verified without a database; - reads standard input.")
    ] = None,
    anchors: Annotated[
        Path | None, typer.Option(help="Anchors that were kept elsewhere: a file of them, an export, or a log.")
    ] = None,
    public_key: Annotated[
        str | None, typer.Option(help="Whose signature an anchor must have, as `audit keygen` printed it.")
    ] = None,
    tenant: Tenant = None,
    as_json: JsonFlag = False,
) -> None:
    """Check every row against its chain and anchors; exit code 1, and the first bad row of each tenant, if any is."""
    with reporting(as_json) as output:
        from cli.audit_trail import check_of, kept_anchors, verify_file
        from shared.domain.audit_export import NoExport

        is_genuine = check_of(public_key)
        kept = kept_anchors(anchors, is_genuine)
        if tenant is not None:
            if file is not None:
                raise usage("--tenant is for the database: an export is verified whole")
            kept = {one: of for one, of in kept.items() if one == tenant}
        if file is None:
            _show(output, run(_verify(kept, is_genuine, tenant)))
            return
        try:
            verdict = verify_file(file, kept=kept, is_genuine=is_genuine)
        except NoExport as error:
            raise usage(f"{file} is no whole export: {error}", code="audit.no_export") from None
        _show(output, verdict)


async def _verify(kept: Any, is_genuine: Any, tenant: UUID | None) -> "Verdict":  # noqa: ANN401  as `verify` has them
    from cli.audit_trail import trail, verify_database

    async with trail() as trails:
        return await verify_database(trails, kept=kept, is_genuine=is_genuine, only=tenant)


def _show(output: Output, verdict: "Verdict") -> None:
    from rich.text import Text

    findings = [
        {
            "tenant_id": str(one.tenant_id),
            "sequence": one.sequence,
            "wrong": one.wrong.value,
            "last_anchored": one.last_anchored,
        }
        for one in verdict.findings
    ]
    document = {
        "ok": not findings,
        "tenants": verdict.tenants,
        "rows": verdict.rows,
        "anchored": verdict.anchored,
        "findings": findings,
    }
    lines = [
        Text(
            f"tenant {one.tenant_id}, row {one.sequence}: {_SAID[one.wrong.value]} ({one.wrong.value});"
            f" rows up to {one.last_anchored} are as they were anchored",
            style="red",
        )
        for one in verdict.findings
    ]
    sums = f"{verdict.rows} rows of {verdict.tenants} trails, {verdict.anchored} of them anchored"
    if not findings:
        lines.append(Text(f"whole: {sums}", style="green"))
    else:
        lines.append(Text(f"not whole: {sums} up to there", style="red"))
    output.result(document, lambda console: console.print(Text("\n").join(lines), soft_wrap=True))
    if findings:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def export(
    output_path: Annotated[Path, typer.Option("--output", "-o", help="A new file; JSON Lines.", show_default=False)],
    tenant: Tenant = None,
    as_json: JsonFlag = False,
) -> None:
    """Write the trail, with the chains' ends and anchors, to a file that `audit verify FILE` checks anywhere."""
    with reporting(as_json) as output:
        run(_export(output, output_path, tenant))


async def _export(output: Output, path: Path, tenant: UUID | None) -> None:
    import hashlib

    from cli.audit_trail import export as write_trail
    from cli.audit_trail import trail

    digest = hashlib.sha256()
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:

            def write(line: str) -> None:
                digest.update(line.encode())
                file.write(line)

            async with trail() as trails:
                tenants, rows = await write_trail(trails, write, only=tenant)
    except OSError as error:
        raise usage(f"cannot write {path}: {error.strerror}", next_step="name a new file") from None
    document = {"file": str(path), "tenants": tenants, "rows": rows, "sha256": digest.hexdigest()}
    said = f"{rows} rows of {tenants} trails; SHA-256 {digest.hexdigest()}"
    output.result(document, lambda console: console.print(said, markup=False, highlight=False))


@app.command()
def anchor() -> None:
    """Anchor the chains that went on: prints a line of JSON for each, to be kept elsewhere.

    Signed with AUDIT_SIGNING_KEY if it is set. The dispatcher does the same every AUDIT_ANCHOR_INTERVAL, into its log.
    """
    with reporting(as_json=False):
        run(_anchor())


async def _anchor() -> None:
    from cli.audit_trail import anchor_now, trail
    from shared.domain.audit_export import anchor_line

    async with trail() as trails:
        for one in await anchor_now(trails, os.environ.get("AUDIT_SIGNING_KEY", "").strip() or None):
            typer.echo(anchor_line(one), nl=False)


@app.command()
def keygen(as_json: JsonFlag = False) -> None:
    """Make a key for anchors and print it once: the private half for AUDIT_SIGNING_KEY, the public one for verify."""
    with reporting(as_json) as output:
        from shared.audit_signing import Signer

        private, signer = Signer.new()
        document = {"private_key": private, "public_key": signer.public_key}
        text = f"private {private}\npublic  {signer.public_key}"
        output.result(document, lambda console: console.print(text, markup=False, highlight=False))
