"""The topology as a page for people. Written to `docs/reference/topology.md`; a test keeps the two together."""

from collections.abc import Iterable

from shared.contracts.names import CommandKey, Exchange, ServiceName
from shared.domain.runs import RunStatus
from shared.messaging.rights import ANY_KEY, ROLES, upstream_rights, upstream_user, user_name
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

`reinstate topology apply` makes it, and `reinstate broker users` the users.
"""


def markdown() -> str:
    """Return the page."""
    parts = [
        _INTRODUCTION,
        _table("Exchanges", ("name", "type", "what for"), ((f"`{e.name}`", e.type, e.purpose) for e in EXCHANGES)),
        _table("Queues", ("name", "what for", "policy"), _queues()),
        _table("Bindings", ("from", "to", "by"), _bindings()),
        _table("Policies", ("name", "pattern", "applies to", "definition"), _policies()),
        _USERS,
        _table("Users", ("name", "what for", "publishes", "reads", "connections, channels"), _users()),
    ]
    return "\n".join(parts)


_USERS = """\
## Rights

From `shared/messaging/rights.py`. Nobody may configure anything: no service declares, binds or deletes. Publishing is
held to exchange and routing key, by a topic permission for each topic exchange; `retry` routes by headers and takes any
key. A right to read a queue is one to get, acknowledge and purge. No user may publish to a queue directly, under
another one's name (`user_id`), or in another virtual host. `reinstate broker users` sets it; `reinstate-` is its
`--prefix`.
"""


def _users() -> Iterable[tuple[str, ...]]:
    named = {user_name(role): rights for role, rights in ROLES.items()}
    named[upstream_user("name").replace("name", "<name>")] = upstream_rights(tuple(CommandKey))
    for user, rights in named.items():
        publishes = (_published(exchange, keys) for exchange, keys in rights.publishes.items())
        reads = ", ".join(f"`{queue}`" for queue in sorted(rights.consumes))
        limits = f"{rights.connections}, {rights.channels}"
        yield (f"`{user}`", rights.purpose, "; ".join(publishes) or "nothing", reads or "nothing", limits)


def _published(exchange: Exchange, keys: frozenset[str]) -> str:
    if keys == ANY_KEY:
        return f"`{exchange.value}`"
    if exchange is Exchange.COMMANDS:
        return f"`{exchange.value}` of its operations: {_listed(keys)}"
    return f"`{exchange.value}`: {_listed(keys)}"


def _listed(keys: frozenset[str]) -> str:
    """List keys; a family that is there as a whole by its first word."""
    words: dict[str, set[str]] = {}
    for key in keys:
        words.setdefault(key.partition(".")[0], set()).add(key)
    whole = {word for word, found in words.items() if len(found) == len(RunStatus) + 1}
    names = {f"{word}.*" for word in whole} | {
        key for word, found in words.items() if word not in whole for key in found
    }
    return ", ".join(f"`{name}`" for name in sorted(names))


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
