"""What every `OutboxSource` promises. A test class inherits the suite and gives the fixture `outbox`."""

from collections.abc import Awaitable
from dataclasses import replace
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from shared.domain.errors import SafeCode
from shared.ports import OutboxRow, OutboxSource
from tests.support.fakes_outbox import an_outbox_row


class OutboxUnderTest(Protocol):
    """The source, and how a test fills it and looks inside."""

    @property
    def source(self) -> OutboxSource:
        """What is tested."""
        ...

    def add(self, *rows: OutboxRow) -> Awaitable[None]:
        """Commit rows that are due at once; ids and `created_at` count, the claim does not."""
        ...

    def left(self) -> Awaitable[set[UUID]]:
        """Ids of the rows that still wait to be published."""
        ...

    def let_claims_lapse(self) -> Awaitable[None]:
        """Let so much time pass that a claim of now is no longer valid."""
        ...


class OutboxSourceContract:
    """The suite."""

    async def test_a_due_row_is_claimed_with_everything_it_carries(self, outbox: OutboxUnderTest) -> None:
        row = an_outbox_row(headers={"sequence": "3"}, causation_id="cause")
        await outbox.add(row)

        (claimed,) = await outbox.source.claim(limit=10)

        assert replace(claimed, claim_token=row.claim_token, attempts=0) == row
        assert claimed.attempts == 1
        assert claimed.claim_token != row.claim_token

    async def test_a_claimed_row_is_nobody_else_s(self, outbox: OutboxUnderTest) -> None:
        await outbox.add(*(an_outbox_row() for _ in range(3)))

        first = await outbox.source.claim(limit=2)
        second = await outbox.source.claim(limit=2)

        assert (len(first), len(second)) == (2, 1)
        assert {r.id for r in first}.isdisjoint(r.id for r in second)

    async def test_a_published_row_is_gone(self, outbox: OutboxUnderTest) -> None:
        await outbox.add(an_outbox_row(), an_outbox_row())

        await outbox.source.published(await outbox.source.claim(limit=10))

        assert await outbox.left() == set()

    async def test_a_lapsed_claim_is_given_again_and_the_late_word_of_the_first_counts_for_nothing(
        self, outbox: OutboxUnderTest
    ) -> None:
        row = an_outbox_row()
        await outbox.add(row)
        first = await outbox.source.claim(limit=1)
        await outbox.let_claims_lapse()
        second = await outbox.source.claim(limit=1)

        await outbox.source.published(first)
        await outbox.source.postpone(first[0], timedelta(hours=1))
        await outbox.source.refuse(first[0], SafeCode.QUEUE_DISPATCH_FAILED)

        assert [r.id for r in second] == [row.id]
        assert await outbox.left() == {row.id}
        await outbox.source.published(second)
        assert await outbox.left() == set()

    async def test_a_postponed_row_waits_and_each_claim_counts_as_an_attempt(self, outbox: OutboxUnderTest) -> None:
        now, later = an_outbox_row(), an_outbox_row()
        await outbox.add(now, later)
        by_id = {row.id: row for row in await outbox.source.claim(limit=2)}

        await outbox.source.postpone(by_id[now.id], timedelta())
        await outbox.source.postpone(by_id[later.id], timedelta(hours=1))

        (again,) = await outbox.source.claim(limit=2)
        assert (again.id, again.attempts) == (now.id, 2)
        assert await outbox.left() == {now.id, later.id}

    async def test_a_refused_row_is_not_offered_again(self, outbox: OutboxUnderTest) -> None:
        await outbox.add(an_outbox_row())
        (row,) = await outbox.source.claim(limit=1)

        await outbox.source.refuse(row, SafeCode.QUEUE_DISPATCH_FAILED)
        await outbox.let_claims_lapse()

        assert await outbox.source.claim(limit=1) == []

    async def test_a_hint_comes_at_once_so_that_old_rows_are_found(self, outbox: OutboxUnderTest) -> None:
        await outbox.add(an_outbox_row())

        await anext(outbox.source.hints())

        assert len(await outbox.source.claim(limit=10)) == 1
