"""Groups by id and by name, asked of the simulated Graph."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from shared.connectors.factory import AllConnectors
from shared.connectors.graph.pace import IDENTITY, classes_of
from shared.connectors.port import CallTag, TenantConnection, TenantReader
from shared.domain.errors import PermanentError, SafeCode
from simulator.process import RunningSimulator, running

IDS = [str(UUID(int=number)) for number in range(1, 41)]


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSimulator]:
    with running(tmp_path_factory.mktemp("simulator"), ["--tenants", "1"]) as started:
        yield started


@asynccontextmanager
async def reading(
    simulator: RunningSimulator, groups: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[TenantReader, str]]:
    monkeypatch.setenv("MEADOW_SECRET", simulator.client_secret)
    directory = simulator.new_tenant()
    objects = [{"id": one, "displayName": name} for one, name in groups.items()]
    body = {"objects": objects, "collection": "groups", "keep_ids": True}
    simulator.admin("POST", f"/tenants/{directory}/objects", body)
    settings = {
        "graph_url": simulator.url,
        "authority_url": simulator.url,
        "client_id": simulator.client_id,
        "secret_ref": "env:MEADOW_SECRET",
    }
    connection = TenantConnection(UUID(int=0), "graph", directory, settings)
    async with AllConnectors().reader(connection) as reader:
        yield reader, directory


async def test_groups_are_found_by_id_more_than_fit_into_one_request(
    simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = {one: f"Group {one[-2:]}" for one in IDS[:35]}
    async with reading(simulator, groups, monkeypatch) as (reader, _):
        found = await reader.group_names([*IDS, "no GUID') or id eq ('"], CallTag())
    assert found == groups


async def test_groups_are_found_by_name_whatever_their_case_and_however_many(
    simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page holds a hundred groups; a quote in a name ends nothing."""
    many = {str(UUID(int=number)): "All staff" for number in range(1, 131)}
    groups = many | {IDS[-1]: "all STAFF", str(UUID(int=900)): "O'Hara's & sons #1 + 100 %"}
    async with reading(simulator, groups, monkeypatch) as (reader, _):
        found = await reader.groups_named(["All staff", "O'Hara's & sons #1 + 100 %", "Nobody"], CallTag())
    assert {name: len(ids) for name, ids in found.items()} == {
        "All staff": 130,
        "O'Hara's & sons #1 + 100 %": 1,
        "Nobody": 0,
    }


async def test_a_directory_that_lets_nobody_look_is_no_end_of_the_run(
    simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with reading(simulator, {}, monkeypatch) as (reader, directory):
        rule = {"harm": "status", "status": 403, "tenant": directory, "path": "groups"}
        simulator.admin("POST", "/faults", rule)
        with pytest.raises(PermanentError) as refused:
            await reader.group_names(IDS[:1], CallTag())
    assert refused.value.code is SafeCode.AUTH_PERMISSION_MISSING


def test_groups_count_towards_the_limits_of_the_directory() -> None:
    assert list(classes_of("GET", "groups?$filter=x")) == [IDENTITY]
