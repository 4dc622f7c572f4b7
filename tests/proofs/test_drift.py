"""Whatever happened to a tenant: a restore makes the requested objects as backed up, and touches nothing else."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from shared.connectors.policy_types import policy_type
from shared.domain.runs import RunStatus
from shared.ports import RunRecord
from tests.support.proofs import REAL, Proof, State

_WRITTEN = {"applied_created", "applied_updated"}
# What a restore may refuse, and says so: secrets that Graph masks, and names that do not tell objects apart.
_REFUSALS = {"restore.secret_unavailable", "restore.ambiguous_target"}


async def test_a_restore_makes_the_requested_items_as_backed_up_and_touches_nothing_else(
    proof: Callable[[int], Proof], seed: int
) -> None:
    one = proof(seed)
    set_id = await one.settle_in()
    backed_up = await one.state()
    await one.drift()
    drifted = await one.state()
    preview = await one.world.preview(set_id, item_ids=await one.some_items(set_id))
    assert await one.state() == drifted, "a preview wrote"

    run = await one.execute(preview, kill=one.dice.random() < 0.5)

    after = await one.state()
    items = await restored(one, run)
    written = {item["place"] for item in items if item["outcome"] in _WRITTEN}
    for item in items:
        if item["outcome"] in _WRITTEN or item["outcome"] == "unchanged":
            is_same = after[item["place"]] == backed_up[item["source"]]
            one.tallies.broadened += int(
                not is_same and reaches_others(after[item["place"]], backed_up[item["source"]])
            )
            assert is_same, item
        else:
            assert item["code"] in _REFUSALS, item
            if item["code"] == "restore.ambiguous_target":
                assert item["source"] not in drifted, "its own id told it apart"
    created = {item["place"] for item in items if item["outcome"] == "applied_created"}
    assert after.keys() - drifted.keys() == created
    untouched = drifted.keys() - written
    assert {place: after.get(place) for place in untouched} == {place: drifted[place] for place in untouched}


@pytest.mark.skipif(not REAL.is_dir(), reason="no folder of real exported policies beside the repository")
async def test_all_real_policies_come_back_after_they_were_all_deleted(proof: Callable[[int], Proof]) -> None:
    one = proof(0)
    set_id = await one.settle_in(real=1000)
    full = await one.state()
    await one.admin("drift", {"seed": 1, "delete": 1000})
    empty = await one.state()
    assert len(full) - len(empty) > 95

    run = await one.execute(await one.world.preview(set_id))

    items = await restored(one, run)
    refused = [item for item in items if item["code"] is not None]
    assert {item["code"] for item in refused} <= _REFUSALS
    again = await one.world.preview(set_id)
    assert again.status is RunStatus.SUCCEEDED
    actions = (again.preview or {})["actions"]
    assert {word: number for word, number in actions.items() if number} == {
        "unchanged": len(items) - len(refused),
        **({"blocked": len(refused)} if refused else {}),
    }


async def restored(one: Proof, run: RunRecord) -> list[dict[str, Any]]:
    """The run's items: outcome, code, where the object is now, and where it was when it was backed up."""
    rows = await one.lab.rows(
        "SELECT i.outcome, i.error_code AS code, i.policy_type, i.remote_id, b.remote_id AS backed_up"
        " FROM restore_run_items i JOIN backup_items b ON b.tenant_id = i.tenant_id AND b.id = i.item_id"
        " WHERE i.run_id = :run ORDER BY i.ordinal",
        run=UUID(str(run.id)),
    )
    for row in rows:
        collection = policy_type(row["policy_type"]).collection
        row["place"], row["source"] = (f"{collection}/{row[name]}" for name in ("remote_id", "backed_up"))
    return rows


def reaches_others(after: dict[str, Any], backed_up: dict[str, Any]) -> bool:
    """Tell whether an object is assigned to anybody that its backup was not assigned to."""
    return any(assignment not in backed_up["assignments"] for assignment in after["assignments"])


def test_a_state_that_differs_is_seen() -> None:
    """The judge itself: the comparison is not of empty things."""
    state: State = {"a/1": {"assignments": [{"target": 1}]}}
    assert reaches_others(state["a/1"], {"assignments": []})
    assert not reaches_others({"assignments": []}, state["a/1"])
