"""A plan in a row shows what queries need; the values of the policy are sealed, and bound to what the plan is about."""

import hashlib
import json
from typing import Any
from uuid import UUID

import pytest

from shared.domain.errors import PermanentError
from shared.keys.envelope import DataKey, Sealer, TenantCipher
from shared.persistence.plan_secrets import FINGERPRINTS, SEALED, SEALED_PROGRESS, protect, reveal, unveil

ITEM, OTHER_ITEM = UUID(int=7), UUID(int=8)
CANARY = "hunter2"


class FixedKeys:
    """The keys of one tenant, without a database."""

    def __init__(self, tenant: int = 1) -> None:
        keys = {n: DataKey(UUID(int=n), n, hashlib.sha256(bytes([tenant, n])).digest()) for n in (0, 1)}
        self.held = TenantCipher(UUID(int=tenant), keys)

    async def cipher(self, *sealed: bytes) -> TenantCipher:
        return self.held

    async def sealer(self, uses: int) -> Sealer:
        return Sealer(self.held, self.held.newest, uses)


def a_plan(**values: Any) -> dict[str, Any]:
    plan = {name: hashlib.sha256(name.encode()).hexdigest() for name in FINGERPRINTS}
    changes = [{"setting": "Description", "before": CANARY}]
    patch = [{"op": "replace", "path": "/description", "value": CANARY}]
    return {"action": "update", **plan, "patch": patch, "assignments_patch": [], "changes": changes, **values}


async def stored(plan: dict[str, Any] | None, item: UUID = ITEM) -> Any:
    """As the row keeps it, once through JSON."""
    return json.loads(json.dumps((await protect(FixedKeys(), [(item, plan)]))[0]))


async def test_people_see_again_what_the_row_does_not_show() -> None:
    row = await stored(a_plan())
    assert CANARY not in json.dumps(row)
    assert not any(a_plan()[name] in json.dumps(row) for name in FINGERPRINTS)
    assert (row["action"], row["patch"], row["changes"]) == ("update", [], [])
    assert await reveal(FixedKeys(), [(ITEM, row), (ITEM, None)]) == [a_plan(), None]


async def test_a_worker_compares_fingerprints_and_writes_progress_without_opening_the_rest() -> None:
    row = await stored(a_plan())
    (seen,) = await unveil(FixedKeys(), [(ITEM, row)])
    assert seen is not None
    assert {name: seen[name] for name in FINGERPRINTS} == {name: a_plan()[name] for name in FINGERPRINTS}
    again = await stored({**seen, "sent": "write", "looks": 1})
    assert again == {**row, "sent": "write", "looks": 1}


async def test_what_was_left_half_done_is_sealed_too_and_open_to_who_goes_on_with_it() -> None:
    row = await stored(a_plan(half_assigned=True, assigned_before=[{"target": CANARY}]))
    assert CANARY not in json.dumps(row)
    assert (row["half_assigned"], row["assigned_before"]) == (True, [])
    (seen,) = await unveil(FixedKeys(), [(ITEM, row)])
    assert seen is not None
    assert (seen["assigned_before"], seen["patch"]) == ([{"target": CANARY}], [])
    assert await reveal(FixedKeys(), [(ITEM, await stored(seen))]) == await reveal(FixedKeys(), [(ITEM, row)])
    assert SEALED_PROGRESS not in await stored({**seen, "assigned_before": []})


@pytest.mark.parametrize(("part", "other"), [(SEALED, SEALED_PROGRESS), (SEALED_PROGRESS, SEALED)])
async def test_one_part_is_not_taken_for_the_other(part: str, other: str) -> None:
    row = await stored(a_plan(assigned_before=[{"target": CANARY}]))
    with pytest.raises(PermanentError):
        await reveal(FixedKeys(), [(ITEM, {**row, part: row[other]})])


async def test_a_plan_that_changes_nothing_has_nothing_sealed() -> None:
    row = await stored(a_plan(patch=[], changes=[]))
    assert SEALED not in row
    assert await stored(None) is None
    assert await stored({"action": "skip"}) == {"action": "skip"}


@pytest.mark.parametrize("name", ["item", "tenant", *FINGERPRINTS])
async def test_what_is_sealed_does_not_open_in_another_plan(name: str) -> None:
    row = await stored(a_plan())
    item, keys = ITEM, FixedKeys()
    if name == "item":
        item = OTHER_ITEM
    elif name == "tenant":
        keys = FixedKeys(2)
    else:
        row[name] = (await stored(a_plan(**{name: "ab" * 32})))[name]
    with pytest.raises(PermanentError):
        await reveal(keys, [(item, row)])


@pytest.mark.parametrize("debris", ["", "no base64!", "AAAA", None, 3])
async def test_debris_is_refused(debris: Any) -> None:
    with pytest.raises(PermanentError):
        await reveal(FixedKeys(), [(ITEM, {**await stored(a_plan()), SEALED: debris})])
