from uuid import UUID

import pytest

from shared.contracts.names import MessageType, Queue
from shared.contracts.work import WakeUp
from shared.domain.errors import PoisonMessage
from shared.domain.runs import Lane, RunType
from shared.engine.worker import work_slice
from shared.messaging.envelope import Envelope
from shared.runtime.ids import new_id

WAKE_UP = WakeUp(tenant_id=new_id(), run_type=RunType.BULK, run_id=new_id(), lane=Lane.BACKGROUND)


def delivered(message_id: str, *, redelivered: bool = False, attempt: int = 1) -> Envelope:
    return Envelope(
        message_id=message_id,
        type=MessageType.WAKE_UP,
        queue=Queue.BULK_BACKGROUND,
        exchange="work",
        routing_key=Queue.BULK_BACKGROUND,
        user_id=None,
        correlation_id=None,
        causation_id=None,
        tenant_id=None,
        redelivered=redelivered,
        attempt=attempt,
        body_sha256="",
        headers={},
    )


class RecordingEngine:
    def __init__(self) -> None:
        self.woken: list[tuple[WakeUp, UUID, bool]] = []

    async def wake(self, wake_up: WakeUp, *, message_id: UUID, redelivered: bool) -> None:
        self.woken.append((wake_up, message_id, redelivered))


@pytest.mark.parametrize(
    ("redelivered", "attempt", "came_back"),
    [(False, 1, False), (True, 1, True), (False, 2, True)],
    ids=["first", "from the broker", "from a waiting room"],
)
async def test_a_wake_up_works_its_run_under_the_messages_id_and_says_whether_it_came_back(
    redelivered: bool,  # noqa: FBT001  parametrised
    attempt: int,
    came_back: bool,  # noqa: FBT001  as above
) -> None:
    engine, message_id = RecordingEngine(), new_id()
    await work_slice(WAKE_UP, delivered(str(message_id), redelivered=redelivered, attempt=attempt), engine)  # type: ignore[arg-type]  # stands in for the engine
    assert engine.woken == [(WAKE_UP, message_id, came_back)]


async def test_a_message_id_that_is_no_uuid_is_poison() -> None:
    engine = RecordingEngine()
    with pytest.raises(PoisonMessage):
        await work_slice(WAKE_UP, delivered("not-a-uuid"), engine)  # type: ignore[arg-type]  # as above
    assert engine.woken == []
