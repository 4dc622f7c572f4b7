"""Dead messages as people and programs see them: never a value of a body, unless it was asked for and is ours."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from cli.console import Output, stderr
from cli.dead_letters import Found, Outcome
from cli.views import table
from shared.domain.error_texts import ERROR_TEXTS
from shared.messaging.letters import Letter

# Headers whose values are ours or the broker's; anybody may have put anything into the others.
_SHOWN_HEADERS = ("cloudEvents_", "x-reinstate-", "x-attempt", "x-delivery", "tenantid", "causationid", "traceparent")
_SHOWN_VALUE = 200  # characters
_PROGRESS_FROM = 20  # messages; fewer are done before a bar could be read


def short(letter: Letter) -> dict[str, Any]:
    """Return one line's worth."""
    run_type, run_id = letter.run or (None, None)
    return {
        "queue": letter.queue,
        "message_id": letter.message_id,
        "type": letter.type,
        "service": letter.service,
        "code": letter.code.value,
        "field": letter.unreadable,
        "exchange": letter.origin.exchange,
        "routing_key": letter.origin.routing_key,
        "origin_queue": letter.origin.queue or None,
        "since": letter.since.isoformat(timespec="seconds") if letter.since else None,
        "tenant_id": letter.tenant_id,
        "run_type": run_type,
        "run_id": run_id,
    }


def whole(letter: Letter, *, with_body: bool) -> dict[str, Any]:
    """Return everything that may be shown; the content only of a message that our contracts know."""
    text = ERROR_TEXTS[letter.code]
    shown = {
        **short(letter),
        "title": text.title,
        "next_step": text.next_step,
        "not_replayable": letter.hindrance,
        "sent_by": letter.origin.user,
        "attempt": letter.attempt,
        "deliveries": letter.deliveries,
        "correlation_id": letter.correlation_id,
        "bytes": len(letter.body),
        "headers": _headers(letter.headers),
        "fields": letter.shape(),
    }
    if with_body:
        shown["body"] = letter.content.model_dump(mode="json") if letter.content else None
    return shown


def _headers(headers: Mapping[str, Any]) -> dict[str, str]:
    return {
        _plain(name): _plain(value) if name.startswith(_SHOWN_HEADERS) else "(not shown)"
        for name, value in sorted(headers.items())
    }


def _plain(value: object) -> str:
    return "".join(c if c.isprintable() else "?" for c in str(value)[:_SHOWN_VALUE])


def listed(rows: Sequence[Mapping[str, Any]], found: Found) -> RenderableType:
    """Show messages as a table, with what it does not show."""
    made = table("queue", "message", "type", "reason", "origin", "age", "run")
    for row in rows:
        origin = f"{row['exchange']} {row['routing_key']}".strip()
        made.add_row(
            row["queue"],
            Text(_plain(row["message_id"] or "-")),
            Text(_plain(row["type"] or "-").removeprefix("reinstate.")),
            Text(row["code"], style="red"),
            Text(_plain(origin)),
            _age(row["since"]),
            str(row["run_id"] or "-"),
        )
    notes = [f"{found.total - len(rows)} more fit: raise --limit"] if found.total > len(rows) else []
    notes += [f"{count} of {queue} were not looked at: raise --scan" for queue, count in found.unseen.items()]
    total = f"{found.total} dead messages" if found.total else "no dead messages"
    return Group(*([made] if rows else []), Text("\n".join([total, *notes]), style="bold"))


def details(documents: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Show messages one below the other."""
    return Group(*(_one(document) for document in documents))


def _one(document: Mapping[str, Any]) -> RenderableType:
    made = Table.grid(padding=(0, 2))
    for name, value in document.items():
        if value is None:
            continue
        if isinstance(value, Mapping):
            shown = "\n".join(f"{key}: {inner}" for key, inner in value.items())
        elif isinstance(value, list):
            shown = "\n".join(map(str, value))
        else:
            shown = _plain(value)
        made.add_row(name.replace("_", " "), Text(shown))
    return Group(made, Text(""))


def settled(outcome: Outcome) -> Text:
    """Say what was done and what was not."""
    lines = [f"{len(outcome.done)} done, {len(outcome.left)} left"]
    lines += [f"left: {_plain(letter.message_id or '-')} in {letter.queue}: {why}" for letter, why in outcome.left]
    if outcome.stopped_by is not None:
        why = outcome.stopped_by.context.get("reason") or outcome.stopped_by.code
        lines.append(f"ended early: {why}; repeat the command for the rest")
    return Text("\n".join(lines))


def _age(since: str | None) -> str:
    if since is None:
        return "-"
    age = max(datetime.now(UTC) - datetime.fromisoformat(since), timedelta())
    for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60)):
        if age.total_seconds() >= seconds:
            return f"{age.total_seconds() / seconds:.0f}{unit}"
    return f"{age.total_seconds():.0f}s"


@contextmanager
def progress(output: Output, word: str, total: int) -> Iterator[Callable[[], None]]:
    """Give a callback that moves a bar on standard error; silent with --json and for a handful."""
    if output.as_json or total < _PROGRESS_FROM:
        yield lambda: None
        return
    with Progress(console=stderr()) as bar:
        task = bar.add_task(word, total=total)
        yield lambda: bar.advance(task)
