"""The outbox in memory keeps the promises that the relay's tests build on."""

from datetime import timedelta
from uuid import UUID

import pytest

from shared.ports import OutboxRow
from tests.support.fakes_outbox import CLAIM, InMemoryOutbox
from tests.support.outbox_contract import OutboxSourceContract


class InMemory:
    def __init__(self) -> None:
        self.source = InMemoryOutbox()

    async def add(self, *rows: OutboxRow) -> None:
        await self.source.add(*rows)

    async def left(self) -> set[UUID]:
        return set(self.source.rows)

    async def let_claims_lapse(self) -> None:
        await self.source.forward(CLAIM + timedelta(seconds=1))


class TestInMemoryOutbox(OutboxSourceContract):
    @pytest.fixture
    def outbox(self) -> InMemory:
        return InMemory()
