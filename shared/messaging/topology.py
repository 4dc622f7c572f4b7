"""Every exchange, queue, binding and policy, in one place. Services only look things up; deployment makes them.

What can be a policy is a policy: it changes without deleting a queue. At most one policy matches an object, so each
carries all of its keys. Only keys that RabbitMQ 3.10 and 4.x both know are used.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from shared.contracts.names import UNROUTED_QUEUE, CommandKey, Exchange, Queue, ServiceName, work_key
from shared.domain.runs import Lane, RunType

DELIVERY_LIMIT = 20  # crashes of consumers, not failures of the message: those are counted in `x-attempt`
INTAKE_LIMIT = 200_000  # messages; above it publishers are refused, which the outbox survives
RETRY_LIMIT = 100_000
STORE_LIMIT = 1_000_000

# Someone looking at a dead letter hands it back, which counts as a delivery; RabbitMQ 4 would drop it after 20 looks.
STORE_DELIVERY_LIMIT = 1_000_000

PRIORITY = 10  # of our policies; a vhost-wide default of an operator stays below

RETRY_TIER = "retry-tier"  # headers that the `retry` and `requeue` exchanges route by; "x-" headers take no part in it
RETRY_QUEUE = "retry-queue"

STORES = (*(s.dead for s in ServiceName), *(s.parked for s in ServiceName), UNROUTED_QUEUE)  # wait for a person


@dataclass(frozen=True, slots=True)
class RetryTier:
    """A waiting room: a queue per delay, because quorum queues expire messages only at their head."""

    name: str
    delay: timedelta

    @property
    def queue(self) -> str:
        """Its queue: `retry.5s`."""
        return f"retry.{self.name}"


RETRY_TIERS = (
    RetryTier("5s", timedelta(seconds=5)),
    RetryTier("30s", timedelta(seconds=30)),
    RetryTier("2m", timedelta(minutes=2)),
    RetryTier("10m", timedelta(minutes=10)),
)


@dataclass(frozen=True, slots=True)
class ExchangeSpec:
    """A durable exchange."""

    name: str
    type: Literal["topic", "headers", "fanout"]
    purpose: str


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """A quorum queue. Everything else about it is in its policy."""

    name: str
    purpose: str

    @property
    def arguments(self) -> dict[str, Any]:
        """What cannot be a policy."""
        return {"x-queue-type": "quorum"}


@dataclass(frozen=True, slots=True)
class BindingSpec:
    """A way from an exchange to a queue."""

    source: str
    destination: str
    routing_key: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Describe the binding for people."""
        by = self.routing_key or ", ".join(f"{k}={v}" for k, v in sorted(self.arguments.items()) if k != "x-match")
        return f"{self.source} -> {self.destination} ({by or 'everything'})"


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """Settings of the objects whose whole name matches `pattern`."""

    name: str
    pattern: str
    apply_to: Literal["queues", "exchanges"]
    definition: Mapping[str, Any]
    priority: int = PRIORITY

    def covers(self, kind: Literal["queues", "exchanges"], name: str) -> bool:
        """Tell whether the policy matches an object."""
        return kind == self.apply_to and re.search(self.pattern, name) is not None


EXCHANGES = (
    ExchangeSpec(Exchange.COMMANDS, "topic", "commands of upstream systems"),
    ExchangeSpec(Exchange.WORK, "topic", "wake-ups for workers"),
    ExchangeSpec(Exchange.EVENTS, "topic", "what happened to runs"),
    ExchangeSpec(Exchange.RETRY, "headers", "to a waiting room, chosen by the header `retry-tier`"),
    ExchangeSpec(Exchange.REQUEUE, "headers", "from a waiting room to the queue in the header `retry-queue`"),
    ExchangeSpec(Exchange.DEAD_LETTER, "topic", "what a service failed on or cannot read; keys are queue names"),
    ExchangeSpec(Exchange.UNROUTED, "fanout", "what no binding wanted (alternate exchange)"),
)

_PURPOSES = {
    Queue.DISPATCHER_COMMANDS: "commands waiting for the dispatcher",
    Queue.RESTORE_INTERACTIVE: "wake-ups of restore runs that a person waits for",
    Queue.RESTORE_BACKGROUND: "wake-ups of restore runs that nobody waits for",
    Queue.BULK_INTERACTIVE: "wake-ups of bulk operation runs that a person waits for",
    Queue.BULK_BACKGROUND: "wake-ups of bulk operation runs that nobody waits for",
    Queue.NOTIFIER_EVENTS: "events to be turned into notifications",
}

QUEUES = (
    *(QueueSpec(queue, _PURPOSES[queue]) for queue in Queue),
    *(QueueSpec(tier.queue, f"messages to be tried again after {tier.name}") for tier in RETRY_TIERS),
    *(QueueSpec(service.dead, f"messages that {service} failed on: look, mend, send again") for service in ServiceName),
    *(QueueSpec(service.parked, f"messages that {service} cannot read, kept as evidence") for service in ServiceName),
    QueueSpec(UNROUTED_QUEUE, "messages with a routing key that nobody is bound to"),
)

BINDINGS = (
    *(BindingSpec(Exchange.COMMANDS, Queue.DISPATCHER_COMMANDS, key) for key in CommandKey),
    *(BindingSpec(Exchange.WORK, key, key) for key in (work_key(run, lane) for run in RunType for lane in Lane)),
    BindingSpec(Exchange.EVENTS, Queue.NOTIFIER_EVENTS, "#"),
    *(BindingSpec(Exchange.RETRY, t.queue, "", {"x-match": "all", RETRY_TIER: t.name}) for t in RETRY_TIERS),
    *(BindingSpec(Exchange.REQUEUE, q, "", {"x-match": "all", RETRY_QUEUE: q.value}) for q in Queue),
    *(BindingSpec(Exchange.DEAD_LETTER, queue.service.dead, queue) for queue in Queue),
    *(BindingSpec(Exchange.DEAD_LETTER, service.parked, service.parked) for service in ServiceName),
    BindingSpec(Exchange.UNROUTED, UNROUTED_QUEUE),
)


def _whole(*names: str) -> str:
    alternatives = "|".join(re.escape(name).replace("\\-", "-") for name in names)
    return f"^({alternatives})$" if len(names) > 1 else f"^{alternatives}$"


def _intake_policy(queue: Queue) -> PolicySpec:
    definition = {
        "delivery-limit": DELIVERY_LIMIT,
        "dead-letter-exchange": Exchange.DEAD_LETTER.value,
        "dead-letter-routing-key": queue.value,
        "dead-letter-strategy": "at-least-once",
        "overflow": "reject-publish",
        "max-length": INTAKE_LIMIT,
    }
    return PolicySpec(f"intake.{queue.value}", _whole(queue.value), "queues", definition)


def _retry_policy(tier: RetryTier) -> PolicySpec:
    definition = {
        "message-ttl": int(tier.delay.total_seconds() * 1000),
        "dead-letter-exchange": Exchange.REQUEUE.value,
        "dead-letter-strategy": "at-least-once",
        "overflow": "reject-publish",
        "max-length": RETRY_LIMIT,
    }
    return PolicySpec(tier.queue, _whole(tier.queue), "queues", definition)


def _store_policy() -> PolicySpec:
    definition = {"delivery-limit": STORE_DELIVERY_LIMIT, "overflow": "reject-publish", "max-length": STORE_LIMIT}
    return PolicySpec("stores", _whole(*STORES), "queues", definition)


POLICIES = (
    *(_intake_policy(queue) for queue in Queue),
    *(_retry_policy(tier) for tier in RETRY_TIERS),
    _store_policy(),
    # `work` and `events` have no alternate: there an unroutable message comes back to the relay as an error.
    PolicySpec(
        "to-unrouted",
        _whole(Exchange.COMMANDS, Exchange.DEAD_LETTER, Exchange.REQUEUE),
        "exchanges",
        {"alternate-exchange": Exchange.UNROUTED.value},
    ),
)


def definitions(vhost: str) -> dict[str, Any]:
    """Return the topology as RabbitMQ definitions, ready for `load_definitions`; without users and rights."""
    return {
        "vhosts": [{"name": vhost}],
        "exchanges": [
            {
                "name": exchange.name,
                "vhost": vhost,
                "type": exchange.type,
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": {},
            }
            for exchange in EXCHANGES
        ],
        "queues": [
            {"name": queue.name, "vhost": vhost, "durable": True, "auto_delete": False, "arguments": queue.arguments}
            for queue in QUEUES
        ],
        "bindings": [
            {
                "source": binding.source,
                "vhost": vhost,
                "destination": binding.destination,
                "destination_type": "queue",
                "routing_key": binding.routing_key,
                "arguments": dict(binding.arguments),
            }
            for binding in BINDINGS
        ],
        "policies": [
            {
                "name": policy.name,
                "vhost": vhost,
                "pattern": policy.pattern,
                "apply-to": policy.apply_to,
                "definition": dict(policy.definition),
                "priority": policy.priority,
            }
            for policy in POLICIES
        ],
    }
