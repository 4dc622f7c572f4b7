"""Laws of restores, over random small tenants."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.engine_lab import lab
from tests.support.fake_writable_tenant import FakeTenant, lost_after, lost_before
from tests.support.restore_lab import ALL_DEVICES, RestoreLab, a_filter, a_policy, to_group

KIND = "deviceConfiguration"
NAMES = st.sampled_from(["A", "B", "C"])
WORDS = st.sampled_from(["", "one", "two"])
ASSIGNMENTS = st.lists(
    st.sampled_from([ALL_DEVICES, to_group("g1"), to_group("g2", excluded=True)]), max_size=2, unique_by=repr
)
POLICIES = st.lists(st.tuples(NAMES, WORDS, ASSIGNMENTS), min_size=1, max_size=4)
CHANGES = st.lists(st.sampled_from(["keep", "delete", "edit", "rename", "reassign"]), min_size=4, max_size=4)
FAULTS = st.lists(st.sampled_from([None, lost_after, lost_before]), max_size=4)


@pytest.mark.parametrize("elsewhere", [False, True])
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policies=POLICIES, changes=CHANGES, faults=FAULTS)
def test_after_a_restore_everything_it_could_write_is_unchanged(
    shared_database: str,
    elsewhere: bool,  # noqa: FBT001  parametrised
    policies: Any,
    changes: Any,
    faults: Any,
) -> None:
    asyncio.run(_law(shared_database, elsewhere, policies, changes, faults))


async def _law(url: str, elsewhere: bool, policies: Any, changes: Any, faults: Any) -> None:  # noqa: FBT001  as above
    async with lab(url) as opened:
        world = RestoreLab(opened, FakeTenant(), await opened.add_tenant())
        source = FakeTenant(prefix="other") if elsewhere else world.tenant
        source.add("assignmentFilter", a_filter("F"))
        ids = [source.add(KIND, a_policy(name, description=word), to) for name, word, to in policies]
        set_id = await world.back_up(source if elsewhere else None)
        if not elsewhere:
            for remote_id, change in zip(ids, changes, strict=False):
                _apply(world.tenant, remote_id, change)
        preview = await world.preview(set_id)
        assert world.tenant.journal == []
        planned = await _by_item(world, preview.id)

        world.tenant.faults = list(faults)
        await world.execute(preview)
        world.tenant.faults = []

        steps = [(write.tag.item_id, write.tag.step) for write in world.tenant.journal]
        assert len(steps) == len(set(steps)), "a plan entry was written twice"
        again = await world.preview(set_id)
        for item, action in (await _by_item(world, again.id)).items():
            if planned[item] not in ("blocked", "skip"):
                assert action == "unchanged"
        before = len(world.tenant.journal)
        await world.execute(again)
        assert len(world.tenant.journal) == before


def _apply(tenant: FakeTenant, remote_id: str, change: str) -> None:
    stored = tenant.objects[KIND, remote_id]
    match change:
        case "delete":
            del tenant.objects[KIND, remote_id]
        case "edit":
            stored.payload["description"] = "edited"
        case "rename":
            stored.payload["displayName"] = "Renamed"
        case "reassign":
            stored.assignments = [to_group("g7")]


async def _by_item(world: RestoreLab, run_id: Any) -> dict[str, str]:
    rows = await world.lab.rows("SELECT item_id, plan FROM restore_run_items WHERE run_id = :run", run=run_id)
    return {str(row["item_id"]): row["plan"]["action"] for row in rows}
