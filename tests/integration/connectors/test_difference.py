"""Administrative templates against the simulated Graph: an update sends what differs, by one call, or nothing."""

import json
from copy import deepcopy
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from shared.connectors.factory import AllConnectors
from shared.connectors.normalise import normalised, restorable_body
from shared.connectors.port import CallTag, Json, TenantWriter
from shared.domain.errors import HalfWrittenError, PermanentError, SafeCode
from simulator.journal import Entry
from tests.integration.connectors.conftest import World

KEY = "groupPolicyConfiguration"
TAG = CallTag(run_id=uuid4(), item_id=uuid4(), step="write")
GOLDEN = Path(__file__).parents[2] / "unit" / "connectors" / "golden" / f"{KEY}.json"
VALUES = "definitionValues"


def payload() -> Json:
    found: Json = json.loads(GOLDEN.read_text(encoding="utf-8"))["payload"]
    return found


def a_value(number: int) -> Json:
    return {"enabled": True, "definition": {"id": f"11111111-2222-4333-8444-{number:012}"}, "presentationValues": []}


def effective(world: World) -> list[Entry]:
    entries: list[Entry] = world.app.state.service.journal.entries
    return [entry for entry in entries if entry.effective and entry.kind == "graph"]


async def ids(writer: TenantWriter, remote_id: str) -> dict[str, str]:
    """The id of each value by what it is about."""
    held = (await writer.read(KEY, remote_id, TAG)).payload[VALUES]
    return {value["definition"]["id"]: value["id"] for value in held}


async def test_an_update_adds_changes_and_deletes_by_one_call_and_keeps_the_ids_of_the_rest(world: World) -> None:
    async with AllConnectors().writer(world.first) as writer:
        remote_id = await writer.create(
            KEY, restorable_body(KEY, payload() | {VALUES: [*payload()[VALUES], a_value(1)]}), TAG
        )
        before = await ids(writer, remote_id)
        [changed, kept] = deepcopy(payload()[VALUES])
        changed["presentationValues"][0]["value"] = "https://elsewhere.example"
        wanted = payload() | {VALUES: [changed, kept, a_value(2)]}
        written = len(effective(world))

        await writer.update(KEY, remote_id, restorable_body(KEY, wanted), None, TAG)

        assert normalised(KEY, (await writer.read(KEY, remote_id, TAG)).payload) == normalised(KEY, wanted)
        after = await ids(writer, remote_id)
    assert [entry.method for entry in effective(world)[written:]] == ["PATCH", "POST"]
    same = {value["definition"]["id"] for value in (changed, kept)}
    assert {one: before[one] for one in same} == {one: after[one] for one in same}


async def test_an_update_that_changes_no_value_sends_none(world: World) -> None:
    async with AllConnectors().writer(world.first) as writer:
        remote_id = await writer.create(KEY, restorable_body(KEY, payload()), TAG)
        written = len(effective(world))

        await writer.update(KEY, remote_id, restorable_body(KEY, payload()), None, TAG)

    assert [entry.method for entry in effective(world)[written:]] == ["PATCH"]


async def test_a_template_of_more_values_than_a_page_holds_comes_back_whole(world: World) -> None:
    many = payload() | {VALUES: [a_value(number) for number in range(1, 61)]}
    async with AllConnectors().writer(world.first) as writer:
        remote_id = await writer.create(KEY, restorable_body(KEY, many), TAG)
        assert normalised(KEY, (await writer.read(KEY, remote_id, TAG)).payload) == normalised(KEY, many)


async def test_values_that_were_lost_on_the_way_are_completed_by_an_update(world: World) -> None:
    rule = {"harm": "status", "status": 503, "method": "POST", "path": "updateDefinitionValues"}
    async with httpx.AsyncClient(trust_env=False) as http:
        (await http.post(f"{world.url}/_simulator/faults", json=rule)).raise_for_status()
    async with AllConnectors().writer(world.first) as writer:
        with pytest.raises(HalfWrittenError) as half:
            await writer.create(KEY, restorable_body(KEY, payload()), TAG)
        assert half.value.remote_id is not None
        await writer.update(KEY, half.value.remote_id, restorable_body(KEY, payload()), None, TAG)
        read_back = await writer.read(KEY, half.value.remote_id, TAG)
    assert normalised(KEY, read_back.payload) == normalised(KEY, payload())


async def test_two_values_of_one_definition_are_refused_before_anything_is_sent(world: World) -> None:
    twice = payload() | {VALUES: [a_value(1), a_value(1)]}
    async with AllConnectors().writer(world.first) as writer:
        with pytest.raises(PermanentError) as caught:
            await writer.create(KEY, restorable_body(KEY, twice), TAG)
    assert caught.value.code is SafeCode.POLICY_NOT_CANONICAL
    assert effective(world) == []
