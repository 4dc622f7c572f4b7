from uuid import UUID

import pytest

from shared.contracts.work import WakeUp
from shared.domain.errors import PoisonMessage
from shared.domain.runs import Lane, RunType
from shared.engine.worker import work_slice
from shared.runtime.ids import new_id

WAKE_UP = WakeUp(tenant_id=new_id(), run_type=RunType.BULK, run_id=new_id(), lane=Lane.BACKGROUND)


class RecordingEngine:
    def __init__(self) -> None:
        self.woken: list[tuple[WakeUp, UUID]] = []

    async def wake(self, wake_up: WakeUp, *, message_id: UUID) -> None:
        self.woken.append((wake_up, message_id))


async def test_a_wake_up_works_its_run_under_the_messages_id() -> None:
    engine, message_id = RecordingEngine(), new_id()
    await work_slice(WAKE_UP, str(message_id), engine)
    assert engine.woken == [(WAKE_UP, message_id)]


async def test_a_message_id_that_is_no_uuid_is_poison() -> None:
    engine = RecordingEngine()
    with pytest.raises(PoisonMessage):
        await work_slice(WAKE_UP, "not-a-uuid", engine)
    assert engine.woken == []
