"""The tenant as a slice sees it."""

from collections.abc import Mapping, Sequence

from services.restore_worker.live import Live
from shared.connectors.port import CallTag
from shared.domain.errors import PermanentError, SafeCode
from tests.support.fake_writable_tenant import FakeReader, FakeTenant


class NamesOnly(FakeReader):
    """Tells which groups have a name, and refuses to tell which ids live."""

    async def group_names(self, ids: Sequence[str], tag: CallTag) -> Mapping[str, str]:
        raise PermanentError(SafeCode.GRAPH_BAD_REQUEST)


async def nothing(_kind: str, _ids: Sequence[str]) -> frozenset[str]:
    return frozenset()


async def test_where_it_is_not_told_which_groups_live_none_is_taken_for_another_by_its_name() -> None:
    """The group itself may live under another name, and the one that has its name now be somebody else's."""
    tenant = FakeTenant(groups={"g1": "Pilots of old", "g2": "Pilots"})
    live = Live(NamesOnly(tenant), nothing)

    assert await live.groups(["g1"], CallTag()) == {}
    assert await live.groups_named(["Pilots"], CallTag()) == {"Pilots": ()}


async def test_names_are_asked_for_where_ids_mean_nothing() -> None:
    live = Live(NamesOnly(FakeTenant(groups={"g2": "Pilots"})), nothing)

    assert await live.groups_named(["Pilots"], CallTag()) == {"Pilots": ["g2"]}
