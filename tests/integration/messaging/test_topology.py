"""The topology on a real broker."""

from collections.abc import AsyncIterator

import pytest

from shared.domain.errors import SafeCode
from shared.messaging.topology import BINDINGS, EXCHANGES, POLICIES, QUEUES
from shared.messaging.topology_admin import TopologyError, apply, check
from tests.support.rabbit import Rabbit


@pytest.fixture
async def bare(amqp_url: str, management_url: str) -> AsyncIterator[Rabbit]:
    """A vhost without the topology."""
    async with Rabbit(amqp_url, management_url) as rabbit:
        yield rabbit


async def test_applying_makes_everything_and_a_second_time_changes_nothing(bare: Rabbit) -> None:
    made = await apply(bare.management_url, bare.vhost)

    assert len(made) == len(EXCHANGES) + len(QUEUES) + len(BINDINGS) + len(POLICIES)
    assert await check(bare.management_url, bare.vhost) == []
    assert await apply(bare.management_url, bare.vhost) == []


async def test_what_someone_removed_is_named_and_comes_back(rabbit: Rabbit) -> None:
    await rabbit.api("DELETE", "/api/bindings/{vhost}/e/work/q/restore.interactive/restore.interactive")
    await rabbit.api("DELETE", "/api/policies/{vhost}/stores")

    found = await check(rabbit.management_url, rabbit.vhost)
    await apply(rabbit.management_url, rabbit.vhost)

    assert {str(d) for d in found} == {
        "policy stores: missing",
        "binding work -> restore.interactive (restore.interactive): missing",
    }
    assert await check(rabbit.management_url, rabbit.vhost) == []


async def test_a_changed_policy_is_named_and_set_back(rabbit: Rabbit) -> None:
    await rabbit.change_policy("intake.restore.interactive", max_length=3)

    (found,) = await check(rabbit.management_url, rabbit.vhost)
    await apply(rabbit.management_url, rabbit.vhost)

    assert (found.kind, found.name, found.problem) == ("policy", "intake.restore.interactive", "differs")
    assert await check(rabbit.management_url, rabbit.vhost) == []


async def test_what_is_too_much_is_named_and_left_alone(rabbit: Rabbit) -> None:
    """A binding or policy that someone added may be on purpose: it is for a person to remove."""
    await rabbit.api("POST", "/api/bindings/{vhost}/e/events/q/restore.dead", {"routing_key": "extra"})
    shadow = {"pattern": "^bulk", "apply-to": "all", "definition": {"max-length": 1}, "priority": 99}
    await rabbit.api("PUT", "/api/policies/{vhost}/shadow", shadow)

    changed = await apply(rabbit.management_url, rabbit.vhost)
    found = await check(rabbit.management_url, rabbit.vhost)

    assert changed == []
    assert {(d.name, d.problem) for d in found} == {
        ("events -> restore.dead (extra)", "surplus"),
        ("shadow", "shadowed"),
    }
    assert len([d for d in found if d.problem == "shadowed"]) == len([q for q in QUEUES if q.name.startswith("bulk")])


async def test_a_queue_of_another_type_is_refused_before_anything_changes(bare: Rabbit) -> None:
    classic = {"durable": True, "arguments": {"x-queue-type": "classic"}}
    await bare.api("PUT", "/api/queues/{vhost}/restore.interactive", classic)

    with pytest.raises(TopologyError) as refused:
        await apply(bare.management_url, bare.vhost)

    assert refused.value.code is SafeCode.TOPOLOGY_CONFLICT
    assert "restore.interactive" in str(refused.value.context["reason"])
    assert len(await bare.api("GET", "/api/queues/{vhost}")) == 1


async def test_an_unknown_vhost_is_a_clear_refusal(management_url: str) -> None:
    with pytest.raises(TopologyError) as refused:
        await apply(management_url, "no-such-vhost")

    assert refused.value.code is SafeCode.TOPOLOGY_REFUSED
    assert "vhost does not exist" in str(refused.value.context["reason"])


async def test_without_a_management_api_the_error_says_what_to_do() -> None:
    with pytest.raises(TopologyError) as refused:
        await apply("http://guest:guest@127.0.0.1:1", "any")

    assert refused.value.code is SafeCode.TOPOLOGY_UNREACHABLE
    assert "rabbitmq_management" in str(refused.value.context["reason"])


async def test_a_key_that_nobody_knows_reaches_the_unrouted_queue(rabbit: Rabbit) -> None:
    await rabbit.publish("commands", "restore_run.explode", b"{}", message_id="lost")

    assert (await rabbit.take("unrouted")).message_id == "lost"


async def test_a_dead_letter_without_a_binding_is_still_kept(rabbit: Rabbit) -> None:
    """At-least-once dead-lettering would hold on to an unroutable message for ever."""
    await rabbit.api("DELETE", "/api/bindings/{vhost}/e/dead-letter/q/restore.dead/restore.interactive")
    await rabbit.publish("work", "restore.interactive", b"{}", message_id="orphan")

    queue = await rabbit.queue("restore.interactive")
    message = await queue.get(timeout=5)
    await message.reject(requeue=False)

    assert (await rabbit.take("unrouted")).message_id == "orphan"


async def test_a_message_that_kills_its_consumers_is_dead_after_the_limit(rabbit: Rabbit) -> None:
    """A limit of 20 is 21 deliveries; the first carries no count."""
    await rabbit.publish("work", "restore.interactive", b"{}", message_id="poison")
    queue = await rabbit.queue("restore.interactive")
    counts = []
    for _ in range(21):
        message = await queue.get(timeout=5)
        counts.append(message.headers.get("x-delivery-count"))
        await message.reject(requeue=True)

    dead = await rabbit.take("restore.dead")

    assert counts == [None, *range(1, 21)] or counts == list(range(21))
    assert dead.message_id == "poison"
    assert dead.headers["x-first-death-reason"] == "delivery_limit"
