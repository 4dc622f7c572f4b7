"""Laws of the topology that need no broker."""

from pathlib import Path

import pytest

from shared.contracts.names import CommandKey, Exchange, Queue, ServiceName, work_key
from shared.domain.runs import Lane, RunType
from shared.messaging import topology_docs
from shared.messaging.broker import MAX_PREFETCH, subscriber_options
from shared.messaging.connection import named_url, user_of
from shared.messaging.topology import BINDINGS, EXCHANGES, POLICIES, QUEUES, RETRY_TIERS, definitions

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "topology.md"

# Keys that RabbitMQ 3.10 and 4.x both accept in a policy; an unknown one would have the whole policy refused.
PORTABLE = {
    "alternate-exchange",
    "dead-letter-exchange",
    "dead-letter-routing-key",
    "dead-letter-strategy",
    "delivery-limit",
    "max-length",
    "message-ttl",
    "overflow",
}


def test_the_page_is_what_the_topology_says() -> None:
    """Changed on purpose? `python -m shared.messaging.topology_docs > docs/reference/topology.md`."""
    assert topology_docs.markdown() == PAGE.read_text()


@pytest.mark.parametrize("queue", [queue.name for queue in QUEUES])
def test_every_queue_has_exactly_one_policy(queue: str) -> None:
    assert len([policy for policy in POLICIES if policy.covers("queues", queue)]) == 1


def test_policies_use_only_what_all_versions_know() -> None:
    assert {key for policy in POLICIES for key in policy.definition} <= PORTABLE


@pytest.mark.parametrize("queue", Queue)
def test_what_a_service_fails_on_goes_to_its_own_dead_queue(queue: Queue) -> None:
    (policy,) = (policy for policy in POLICIES if policy.covers("queues", queue))
    key = policy.definition["dead-letter-routing-key"]

    dead = [b.destination for b in BINDINGS if b.source == Exchange.DEAD_LETTER and b.routing_key == key]

    assert dead == [queue.service.dead]


def test_every_key_that_we_publish_with_is_bound() -> None:
    bound = {(b.source, b.routing_key) for b in BINDINGS}

    assert {(Exchange.COMMANDS, key) for key in CommandKey} <= bound
    assert {(Exchange.WORK, work_key(run, lane)) for run in RunType for lane in Lane} <= bound
    assert (Exchange.EVENTS, "#") in bound


def test_bindings_only_join_what_there_is() -> None:
    assert {b.source for b in BINDINGS} <= {e.name for e in EXCHANGES}
    assert {b.destination for b in BINDINGS} == {q.name for q in QUEUES}


def test_waiting_rooms_get_longer() -> None:
    delays = [tier.delay for tier in RETRY_TIERS]

    assert delays == sorted(set(delays))
    assert [tier.name for tier in RETRY_TIERS] == ["5s", "30s", "2m", "10m"]


def test_definitions_are_all_of_one_vhost() -> None:
    found = definitions("acceptance")

    assert {entry.get("vhost", "acceptance") for section in found.values() for entry in section} == {"acceptance"}
    assert len(found["queues"]) == len({entry["name"] for entry in found["queues"]})


def test_every_service_has_a_place_for_the_dead_and_the_unreadable() -> None:
    names = {queue.name for queue in QUEUES}

    assert {place for service in ServiceName for place in (service.dead, service.parked)} <= names


@pytest.mark.parametrize("prefetch", [0, -1, MAX_PREFETCH + 1])
def test_a_prefetch_without_limit_is_refused(prefetch: int) -> None:
    with pytest.raises(ValueError, match="prefetch"):
        subscriber_options(prefetch)


def test_a_connection_has_a_name_and_a_short_heartbeat_unless_it_brings_its_own() -> None:
    assert named_url("amqp://u:p@h:5672/v", "a@b:1") == "amqp://u:p@h:5672/v?name=a@b:1&heartbeat=10"
    assert "heartbeat=5" in named_url("amqp://u:p@h:5672/v?heartbeat=5", "a@b:1")
    assert user_of("amqp://u%40x:p@h/v") == "u@x"
    assert user_of("amqp://h/v") == "guest"
