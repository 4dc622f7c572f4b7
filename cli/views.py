"""Runs, items, plans and notifications as people read them."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.change_views import counted, words
from cli.models import MappedId, Notification, Pause, PlanEntry, Preview, Run, RunItem
from shared.contracts.events import RunCounts

_STATUS_STYLES = {
    "succeeded": "green",
    "partial": "yellow",
    "failed": "red",
    "aborted": "magenta",
    "running": "cyan",
    "queued": "dim",
}
_ACTION_STYLES = {
    "create": "green",
    "update": "yellow",
    "delete": "magenta",
    "unchanged": "dim",
    "skip": "dim",
    "blocked": "red",
}
_SEVERITY_STYLES = {"blocking": "red", "warning": "yellow", "safe": "dim"}
_OPERATION_STYLES = {"add": "green", "remove": "red"}
_NOTHING = "plan.nothing_found"
_LISTED = 5  # uncertain references of one object
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
    if one.freshness:
        reason = f" ({one.freshness_reason})" if one.freshness_reason else ""
        made.add_row("preview is", Text(f"{one.freshness}{reason}"))
    if one.safety:
        made.add_row("plan hash", str(one.safety.get("plan_hash")))
        made.add_row("previewed", str(one.safety.get("previewed_at")))
    if one.wait_reason:
        until = f" until {one.wait_until.isoformat(timespec='seconds')}" if one.wait_until else ""
        made.add_row("waits for", Text(f"{one.wait_text or one.wait_reason} ({one.wait_reason}{until})"))
    if one.error:
        made.add_row("error", Text(f"{one.error.title or one.error.code} ({one.error.code})", style="red"))
    if one.skipped_types:
        left_out = f"{', '.join(one.skipped_types)}: no permission was given"
        made.add_row("left out", Text(left_out, style="yellow"))
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
        made.add_row(
            Text(action, style=_ACTION_STYLES.get(action, "")),
            Text(entry.label),
            entry.policy_type,
            counted(entry),
            _findings(entry),
        )
        for choice in entry.choices:
            changed = f", changed {choice.last_modified}" if choice.last_modified else ""
            made.add_row(
                "",
                Text(f"  may be {choice.name}", style="dim"),
                "",
                "",
                Text(f"--target {entry.item_id}={choice.id}{changed}"),
            )
    unsure = [line for entry in plan.items if (line := references(entry))]
    found = ", ".join(f"{number} {severity}" for severity, number in plan.checks.items() if number)
    total = ", ".join(f"{number} {action}" for action, number in plan.actions.items()) or "nothing to do"
    said = [words(entry) for entry in plan.items if entry.changes] if with_words else []
    diffs = [diff(entry) for entry in plan.items if entry.patch or entry.assignments_patch] if with_diff else []
    checks = [Text(f"checks: {found}", style="bold")] if found else []
    return Group(Text(total, style="bold"), *checks, Text(), made, *unsure, *said, *diffs)


def _findings(entry: PlanEntry) -> Text:
    """Show what was found, each in the colour of its severity; what is safe is only worth a word if it says why."""
    severities = {check.code: check.severity for check in entry.checks}
    codes = dict.fromkeys([*([entry.error.code] if entry.error else []), *severities, *entry.warnings])
    told = [Text(code, style=_SEVERITY_STYLES.get(severities.get(code, ""), "")) for code in codes if code != _NOTHING]
    return Text(", ").join(told)


def references(entry: PlanEntry) -> Text | None:
    """Say in one line which references of an object lead nowhere for certain; None where all do."""
    unsure = [one for one in entry.references if one.confidence in ("ambiguous", "missing")]
    if not unsure:
        return None
    named = [f"{one.type} {one.name or one.source_id} {one.confidence}" for one in unsure[:_LISTED]]
    more = [f"{len(unsure) - _LISTED} more"] if len(unsure) > _LISTED else []
    return Text(f"references of {entry.label}: {', '.join([*named, *more])}", style="yellow")


def id_map(several: Iterable[MappedId]) -> Table:
    """Show what an execution made of the backup's ids."""
    made = table("type", "name", "in the backup", "in the tenant", "decision")
    for one in several:
        made.add_row(one.policy_type, Text(one.display_name), Text(one.source_id), Text(one.target_id), one.decision)
    return made


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
