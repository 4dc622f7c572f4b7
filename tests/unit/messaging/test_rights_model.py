"""The broker's patterns say what the table says, for any name and key, and the table fits the topology."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.names import CommandKey, Exchange, Queue
from shared.messaging.rights import ANY_KEY, ROLES, Rights, Role, upstream_rights
from shared.messaging.topology import BINDINGS, EXCHANGES, QUEUES

EVERYBODY = [*ROLES.values(), *(upstream_rights(keys) for keys in ((), (CommandKey.ABORT_RUN,), tuple(CommandKey)))]
NAMES = [exchange.name for exchange in EXCHANGES] + [queue.name for queue in QUEUES]
KEYS = sorted(
    {binding.routing_key for binding in BINDINGS} | {key for r in EVERYBODY for k in r.publishes.values() for key in k}
)
words = st.sampled_from([*NAMES, *KEYS]).flatmap(
    lambda word: st.sampled_from([word, f"{word}\n", f"x{word}", f"{word}x", word.replace(".", "-"), word.upper()])
) | st.text(max_size=20)


def matches(pattern: str, name: str) -> bool:
    r"""Search as the broker does: its `\z` is our `\Z`."""
    return re.search(pattern.replace(r"\z", r"\Z"), name) is not None


@given(rights=st.sampled_from(EVERYBODY), name=words)
def test_names_match_that_are_named_and_no_others(rights: Rights, name: str) -> None:
    if name.strip():  # the broker knows nothing without a name
        assert matches(rights.permissions["write"], name) is (name in {e.value for e in rights.publishes})
        assert matches(rights.permissions["read"], name) is (name in rights.consumes)
        assert not matches(rights.permissions["configure"], name)


@given(rights=st.sampled_from(EVERYBODY), key=words)
def test_keys_match_that_are_named_and_no_others(rights: Rights, key: str) -> None:
    for topic in rights.topic_permissions:
        exchange = topic["exchange"]
        if exchange in {e.value for e in rights.publishes}:
            assert matches(topic["write"], key) is rights.may_publish(exchange, key)


@pytest.mark.parametrize("rights", EVERYBODY)
def test_every_topic_exchange_has_a_topic_permission(rights: Rights) -> None:
    """None defined would mean that all is allowed."""
    topics = {exchange.name for exchange in EXCHANGES if exchange.type == "topic"}

    assert {one["exchange"] for one in rights.topic_permissions} == topics
    assert all(keys != ANY_KEY for exchange, keys in rights.publishes.items() if exchange.value in topics)


@pytest.mark.parametrize("queue", Queue)
def test_one_service_reads_each_queue_of_work(queue: Queue) -> None:
    assert [role.value for role, rights in ROLES.items() if queue.value in rights.consumes] == [queue.service.value]


def test_only_an_operator_and_upstreams_send_commands() -> None:
    assert [role for role, rights in ROLES.items() if Exchange.COMMANDS in rights.publishes] == [Role.OPERATOR]


def test_what_may_be_read_is_no_exchange_and_what_may_be_written_no_queue() -> None:
    """Rights are by name, whatever the thing is: one of both kinds could be bound to others."""
    assert {e.name for e in EXCHANGES}.isdisjoint(q.name for q in QUEUES)
