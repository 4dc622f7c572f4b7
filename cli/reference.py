"""`python -m cli.reference > docs/reference/cli.md`: the reference of the command line, written by typer."""

import sys

import typer
from typer.cli import get_docs_for_click

from cli.main import app


def reference() -> str:
    """Return the page; a test compares it with the committed one."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="reinstate")
    page = get_docs_for_click(obj=command, ctx=context, name="reinstate", title="The command line")
    lines = (line.rstrip() for line in page.strip().splitlines())
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
