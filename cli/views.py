"""Runs, items, plans and notifications as people read them."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.change_views import counted, words
from cli.models import Notification, Pause, PlanEntry, Preview, Run, RunItem
from shared.contracts.events import RunCounts

_STATUS_STYLES = {
    "succeeded": "green",
    "partial": "yellow",
    "failed": "red",
    "aborted": "magenta",
    "running": "cyan",
    "queued": "dim",
}
_ACTION_STYLES = {"create": "green", "update": "yellow", "unchanged": "dim", "skip": "dim", "blocked": "red"}
_OPERATION_STYLES = {"add": "green", "remove": "red"}
_SHOWN = 160  # characters of one value of a diff


def table(*columns: str) -> Table:
    """Return an empty table in the house style."""
    made = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for column in made.columns:
        column.overflow = "fold"  # an id that is cut cannot be copied
    return made


def status(word: str) -> Text:
    """Return a status in its colour."""
    return Text(word, style=_STATUS_STYLES.get(word, ""))


def counts(of: RunCounts) -> str:
    """Return `7/12, 1 failed`."""
    total = "?" if of.total is None else of.total
    extras = [f"{number} {name}" for name, number in (("failed", of.failed), ("skipped", of.skipped)) if number]
    return ", ".join([f"{of.processed}/{total}", *extras])


def runs(several: Iterable[Run]) -> Table:
    """Show runs as a table."""
    made = table("run", "operation", "status", "items", "by", "created", "waits for")
    for run in several:
        when = run.created_at.strftime("%Y-%m-%d %H:%M:%S")
        made.add_row(
            str(run.id),
            run.operation,
            status(run.status),
            counts(run.counts),
            Text(run.requested_by or "-"),
            when,
            run.wait_reason or "",
        )
    return made


def run(one: Run) -> RenderableType:
    """Show one run."""
    made = Table.grid(padding=(0, 2))
    made.add_row("run", str(one.id))
    made.add_row("operation", one.operation)
    made.add_row("status", status(one.status))
    made.add_row("items", counts(one.counts))
    if one.wait_reason:
        until = f" until {one.wait_until.isoformat(timespec='seconds')}" if one.wait_until else ""
        made.add_row("waits for", Text(f"{one.wait_text or one.wait_reason} ({one.wait_reason}{until})"))
    if one.error:
        made.add_row("error", Text(f"{one.error.title or one.error.code} ({one.error.code})", style="red"))
    for message in one.dead_messages:
        state = message.resolution or f"waits in {message.queue}"
        shown = f"{message.message_id} {state}: {message.title or message.code} ({message.code})"
        made.add_row("dead message", Text(shown if message.resolution else f"{shown} → {message.next_step}"))
    for name, moment in (("created", one.created_at), ("started", one.started_at), ("finished", one.finished_at)):
        if moment:
            made.add_row(name, moment.isoformat(timespec="seconds"))
    return made


def pauses(several: Sequence[Pause]) -> RenderableType:
    """Show what is paused."""
    if not several:
        return Text("Nothing is paused.")
    made = table("paused", "for", "why", "by", "since")
    for one in several:
        whom = "all tenants" if one.for_all_tenants else "this tenant"
        when = one.since.strftime("%Y-%m-%d %H:%M:%S")
        made.add_row(one.operation or "everything", whom, Text(one.reason), Text(one.paused_by), when)
    return made


def items(several: Iterable[RunItem]) -> Table:
    """Show items as a table."""
    made = table("#", "item", "type", "outcome", "why")
    for one in several:
        why = f"{one.error.title or one.error.code} ({one.error.code})" if one.error else ""
        made.add_row(
            str(one.ordinal), Text(one.label), one.policy_type, one.outcome or one.state, Text(why, style="red")
        )
    return made


def preview(plan: Preview, *, with_diff: bool, with_words: bool = True) -> RenderableType:
    """Show what an execution would do: counts, objects, then the changes of each in words and as a patch."""
    made = table("action", "item", "type", "changes", "why")
    for entry in plan.items:
        action = entry.action or "not planned"
        notes = [entry.error.code] if entry.error else []
        made.add_row(
            Text(action, style=_ACTION_STYLES.get(action, "")),
            Text(entry.label),
            entry.policy_type,
            counted(entry),
            Text(", ".join([*notes, *entry.warnings])),
        )
    total = ", ".join(f"{number} {action}" for action, number in plan.actions.items()) or "nothing to do"
    said = [words(entry) for entry in plan.items if entry.changes] if with_words else []
    diffs = [diff(entry) for entry in plan.items if entry.patch or entry.assignments_patch] if with_diff else []
    return Group(Text(f"{total}\n", style="bold"), made, *said, *diffs)


def diff(entry: PlanEntry) -> Text:
    """Show one object's changes as lines: `+` added, `-` removed, `~` replaced."""
    shown = Text(f"\n{entry.label}\n", style="bold")
    for operation in entry.patch:
        shown.append_text(_line(operation))
    for operation in entry.assignments_patch:
        shown.append_text(_line(operation, place="assignments"))
    if entry.patch_truncated:
        shown.append(f"  … {entry.patch_operations - len(entry.patch)} more\n", style="dim")
    return shown


def _line(operation: dict[str, Any], place: str = "") -> Text:
    kind = str(operation.get("op"))
    mark = {"add": "+", "remove": "-"}.get(kind, "~")
    value = "" if kind == "remove" else f" = {_short(operation.get('value', operation.get('from')))}"
    return Text(f"  {mark} {place}{operation.get('path')}{value}\n", style=_OPERATION_STYLES.get(kind, "yellow"))


def _short(value: Any) -> str:  # noqa: ANN401  any JSON value
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def notifications(several: Sequence[Notification]) -> Table:
    """Show notifications as a table; unread ones carry a dot."""
    made = table("", "notification", "tenant", "operation", "status", "items", "when")
    for one in several:
        unread = one.interrupts and one.read_at is None
        when = one.created_at.strftime("%Y-%m-%d %H:%M:%S")
        tenant = Text(one.tenant_name or str(one.tenant_id))
        made.add_row(
            "●" if unread else "", str(one.id), tenant, one.operation, status(one.status), counts(one.counts), when
        )
    return made
