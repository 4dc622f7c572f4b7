"""`reinstate backup verify`, `export` and `import`: backup sets between tools and tenants."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from cli.connection import TenantOption, check_ended_well, client, progress_bar
from cli.console import CliFailure, ExitCode, JsonFlag, Output, reporting, run, usage

if TYPE_CHECKING:
    from cli.models import ImportedSet, Run
    from cli.moving import Format, Prepared
    from shared.domain.archives import ArchiveReport

_FORMATS = ("archive", "intunemanagement", "intunecd")


def verify(
    file: Annotated[Path, typer.Argument(help="An archive, as an export made it.", show_default=False)],
    as_json: JsonFlag = False,
) -> None:
    """Check an archive without a server: every file against the manifest's hash; exit code 1 unless it is whole."""
    with reporting(as_json) as output:
        from cli.moving import checked, described

        report = checked(file)
        document = described(report)
        output.result(document, lambda console: console.print(_report(report, document)))
        if not report.is_whole:
            raise typer.Exit(ExitCode.FAILED)


def _report(report: "ArchiveReport", document: dict[str, Any]) -> Any:  # noqa: ANN401  anything that rich can print
    from rich.console import Group
    from rich.text import Text

    from cli import views

    parts: list[Any] = []
    held = document["archive"]
    if held:
        parts.append(
            Text(f"from {held['tenant'] or 'no named tenant'}, made {held['created_at'] or 'at no known time'}")
        )
        made = views.table("type", "files")
        for key, count in held["policy_types"].items():
            made.add_row(Text(key), str(count))
        parts.append(made)
    parts += [Text(f"{one.kind.value}: {one.path}".rstrip(": "), style="red") for one in report.problems]
    if report.is_whole:
        parts.append(Text(f"whole: {report.files} files are what the manifest says", style="green"))
    return Group(*parts)


def export(
    backup_set: Annotated[UUID, typer.Argument(metavar="SET", help="The backup set's id.", show_default=False)],
    tenant: TenantOption,
    output_path: Annotated[
        Path, typer.Option("--output", "-o", help="A new file; for the other formats a new or empty folder.")
    ],
    chosen: Annotated[str, typer.Option("--format", help="archive, intunemanagement or intunecd.")] = "archive",
    as_json: JsonFlag = False,
) -> None:
    """Export a backup set, verify what came, and write it as an archive or as a folder of another tool."""
    with reporting(as_json) as output:
        from cli.moving import check_output

        wanted = _format(chosen)
        check_output(output_path, wanted)
        run(_export(output, tenant, backup_set, output_path, wanted))


async def _export(output: Output, tenant: UUID, backup_set: UUID, path: Path, wanted: "Format") -> None:
    from cli.moving import check_whole, downloads, put

    with downloads() as archive:
        async with client() as api:
            started = await api.start_bulk(tenant, "backup_set.export", target_id=backup_set)
            with progress_bar(output) as draw:
                ended = await api.wait(started.run, draw)
            with archive.open("xb") as file:
                sha256 = await api.download_archive(ended, file)
        if sha256 is None:
            check_ended_well(ended)
            raise _nothing(ended)
        report = check_whole(archive)
        put(archive, path, wanted)
    document = {
        "run": ended.model_dump(mode="json"),
        "output": str(path),
        "format": wanted.value,
        "files": report.files,
        "sha256": sha256,
    }
    check_ended_well(ended)  # what could be exported is there; that not all of it could is told all the same
    output.result(document, lambda console: console.print(f"{path}: {report.files} files, verified", markup=False))


def _nothing(ended: "Run") -> CliFailure:
    return CliFailure(
        "the set holds nothing to export",
        exit_code=ExitCode.FAILED,
        code="selection.empty",
        details={"run": ended.model_dump(mode="json")},
    )


def import_set(
    source: Annotated[
        Path,
        typer.Argument(
            help="An archive, or a folder: IntuneManagement, IntuneCD, an unpacked archive.", show_default=False
        ),
    ],
    tenant: TenantOption,
    name: Annotated[str | None, typer.Option(help="A name for the backup set.")] = None,
    wanted: Annotated[
        str | None, typer.Option("--format", help="Insist on archive, intunemanagement or intunecd.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a backup set of an archive or a folder. Files that cannot be taken are named, and the rest goes on."""
    with reporting(as_json) as output:
        from cli.moving import prepared

        with prepared(source, _format(wanted) if wanted else None) as archive:
            if archive.problems:
                _show(output, [(problem.file, problem.code.value) for problem in archive.problems])
            if archive.format != "archive" and not archive.files:
                raise usage("the folder holds no policy", code="folder.not_a_policy")
            run(_import(output, tenant, archive, name))


async def _import(output: Output, tenant: UUID, archive: "Prepared", name: str | None) -> None:
    async with client() as api:
        imported = await api.import_archive(tenant, archive.file, name=name)
    refused = [(archive.files.get(one.path, one.path), one.code) for one in imported.left_out]
    _show(output, refused)
    left_out = sorted([(problem.file, problem.code.value) for problem in archive.problems] + refused)
    document = {
        "backup_set": imported.backup_set.model_dump(mode="json"),
        "created": imported.created,
        "format": archive.format,
        "imported": imported.imported,
        "left_out": [{"file": file, "code": code} for file, code in left_out],
    }
    output.result(document, lambda console: console.print(_line(imported, len(left_out)), markup=False))


def _show(output: Output, left_out: list[tuple[str, str]]) -> None:
    from rich.text import Text

    for file, code in left_out:
        output.say(Text(f"left out: {file} ({code})", style="yellow"))


def _line(imported: "ImportedSet", left_out: int) -> str:
    made = imported.backup_set
    again = "" if imported.created else ", which the same import had made before"
    return f"{made.name}: {made.id} ({imported.imported} policies, {left_out} files left out){again}"


def _format(word: str) -> "Format":
    from cli.moving import Format

    if word not in _FORMATS:
        raise usage(f"--format is one of {', '.join(_FORMATS)}")
    return Format(word)
