"""A restore and its undo leave the tenant as it was, wherever their workers die."""

from collections.abc import Callable

import pytest

from shared.domain.errors import PermanentError, SafeCode
from shared.domain.runs import RunStatus
from tests.support.proofs import Proof


async def test_a_restore_and_its_undo_leave_the_tenant_as_it_was(proof: Callable[[int], Proof], seed: int) -> None:
    one = proof(seed)
    set_id = await one.settle_in()
    await one.drift()
    before = await one.state()
    run = await one.execute(await one.world.preview(set_id, item_ids=await one.some_items(set_id)), kill=True)
    restored = await one.state()
    if not one.tallies.items:
        with pytest.raises(PermanentError, match=SafeCode.SELECTION_EMPTY.value):
            await one.world.undo(run)
        return

    preview = await one.world.undo(run)

    assert await one.state() == restored, "a preview wrote"
    undone = await one.execute(preview, kill=True)

    assert undone.status is RunStatus.SUCCEEDED, undone
    assert await one.state() == before
