"""What a preview would change, in words, as people read it in a terminal."""

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli.models import Change, PlanEntry

MOST_SHOWN = 40  # lines of one object; a screen has not many more, and `--json` has all of them
_STYLES = {"added": "green", "removed": "red"}
_MARKS = {"added": "+", "removed": "−"}


def counted(entry: PlanEntry) -> str:
    """Return how many changes there are; an older server only tells the patch's operations. "" for none."""
    number = len(entry.changes) + entry.changes_left_out or entry.patch_operations + len(entry.assignments_patch)
    return str(number or "")


def words(entry: PlanEntry) -> RenderableType:
    """Show one object's changes: `+` comes, `−` goes, `~` changes."""
    lines = Table.grid(padding=(0, 1))
    lines.add_column(no_wrap=True)
    lines.add_column(overflow="fold")
    for change in entry.changes[:MOST_SHOWN]:
        style = _STYLES.get(change.kind, "yellow")
        lines.add_row(Text(_MARKS.get(change.kind, "~"), style=style), _line(change, style))
    more = len(entry.changes[MOST_SHOWN:]) + entry.changes_left_out
    if more:
        lines.add_row("", Text(f"… {more} more", style="dim"))
    heading = Text.assemble("\n", (entry.label, "bold"), (f"  {entry.action}" if entry.action else "", "dim"))
    return Group(heading, Padding(lines, (0, 0, 0, 2)))


def _line(change: Change, style: str) -> Text:
    said = Text(f"{change.setting}: ")
    if change.kind in _STYLES:
        return said.append((change.after if change.kind == "added" else change.before) or "", style=style)
    if change.before == change.after:
        return said.append(f"{change.before}, differs", style=style)
    said.append(change.before or "", style=style).append(" → ").append(change.after or "", style=style)
    return said.append(" (order)", style="dim") if change.kind == "reordered" else said
