"""The topology as a page for people. Written to `docs/reference/topology.md`; a test keeps the two together."""

from collections.abc import Iterable

from shared.contracts.names import ServiceName
from shared.messaging.topology import BINDINGS, DELIVERY_LIMIT, EXCHANGES, POLICIES, QUEUES, RETRY_TIERS

_INTRODUCTION = f"""\
# Topology of the broker

Generated from `shared/messaging/topology.py`; do not edit. To write it again:
`python -m shared.messaging.topology_docs > docs/reference/topology.md`.

Deployment makes all of this, the services only look it up. All queues are quorum queues, and everything that can be a
policy is one. It works unchanged on RabbitMQ 3.10 and 4.x.

The first word of a queue's name is the service that owns it. `{ServiceName.RESTORE}` stands for the package
`restore_worker` and `{ServiceName.BULK}` for `bulk_worker`.

## Where a message can end up

| what happened | where it goes |
| --- | --- |
| the handler finished | acknowledged, gone |
| the handler failed in a way that time may heal | the next waiting room of \
{", ".join(f"`{tier.queue}`" for tier in RETRY_TIERS)}, then back to the same queue under its own routing key |
| it failed in every waiting room, or for good | `<service>.dead`, with the reason in `x-reinstate-reason` |
| a defect in the handler, or {DELIVERY_LIMIT} consumers died of it | `<service>.dead`, by the broker |
| it cannot be read | `<service>.parked`, with the reason in `x-reinstate-reason` |
| no binding wants it, on `commands`, `dead-letter` or `requeue` | `unrouted` |
| no binding wants it, on `work` or `events` | back to the relay, which keeps the row and tries again |

Anything in a `.dead`, `.parked` or `unrouted` queue waits for a person:
[Empty the dead letters](../how-to/empty-the-dead-letters.md).

The dispatcher's live feeds are not listed: each replica declares its own exclusive classic queue
`dispatcher.live.<name>`, bound to `events`, and it is gone with its connection.
"""


def markdown() -> str:
    """Return the page."""
    parts = [
        _INTRODUCTION,
        _table("Exchanges", ("name", "type", "what for"), ((f"`{e.name}`", e.type, e.purpose) for e in EXCHANGES)),
        _table("Queues", ("name", "what for", "policy"), _queues()),
        _table("Bindings", ("from", "to", "by"), _bindings()),
        _table("Policies", ("name", "pattern", "applies to", "definition"), _policies()),
    ]
    return "\n".join(parts)


def _queues() -> Iterable[tuple[str, ...]]:
    for queue in QUEUES:
        policy = next(p.name for p in POLICIES if p.covers("queues", queue.name))
        yield (f"`{queue.name}`", queue.purpose, f"`{policy}`")


def _bindings() -> Iterable[tuple[str, ...]]:
    for binding in BINDINGS:
        by = [f"`{binding.routing_key}`"] if binding.routing_key else []
        by += [f"`{key}: {value}`" for key, value in sorted(binding.arguments.items()) if key != "x-match"]
        yield (f"`{binding.source}`", f"`{binding.destination}`", ", ".join(by) or "everything")


def _policies() -> Iterable[tuple[str, ...]]:
    for policy in POLICIES:
        definition = ", ".join(f"{key}={value}" for key, value in policy.definition.items())
        yield (f"`{policy.name}`", f"`{policy.pattern}`".replace("|", "\\|"), policy.apply_to, definition)


def _table(title: str, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"## {title}", "", _row(head), _row(("---",) * len(head)), *(_row(row) for row in rows), ""]
    return "\n".join(lines)


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(markdown(), end="")  # noqa: T201  a generator that prints its page
