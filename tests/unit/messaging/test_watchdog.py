"""When a process that has no consumers any more gives itself up."""

import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest

from shared.contracts.names import ServiceName
from shared.messaging.vitals import ConsumersLost, ProcessVitals

SHORT = timedelta(milliseconds=80)


class Line:
    """An intake without consumers, before a broker that answers as the test says; then the consumers are back."""

    def __init__(self, answers: list[bool]) -> None:
        self.answers = answers
        self.has_consumed = True
        self.is_consuming = False

    async def is_broker_there(self) -> bool:
        answer = self.answers.pop(0)
        self.is_consuming = not self.answers and not answer
        return answer


def watch(line: Line) -> "asyncio.Task[None]":
    intake = cast("Any", line)
    vitals = ProcessVitals(ServiceName.BULK, intake, intake, intake, outbox_limit=timedelta(seconds=30))
    return asyncio.create_task(vitals.watch_consumers(SHORT))


async def test_a_broker_that_answers_all_the_time_and_has_none_of_our_consumers_ends_the_process() -> None:
    line = Line([True, True])

    with pytest.raises(ConsumersLost):
        await asyncio.wait_for(watch(line), 10)

    assert line.answers == []


async def test_a_broker_that_answers_again_this_moment_is_given_time_to_take_the_consumers_back() -> None:
    line = Line([False, False, True, False])
    watching = watch(line)

    done, _ = await asyncio.wait([watching], timeout=10 * SHORT.total_seconds())

    assert done == set()
    assert line.is_consuming
    watching.cancel()
