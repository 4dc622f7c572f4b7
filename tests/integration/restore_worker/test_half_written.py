"""Objects of more than one call, over the simulated Graph: a rest that did not come is told, and not redone blindly."""

from typing import Any

import pytest

from shared.connectors.port import Json
from shared.ports import RunRecord
from simulator.process import RunningSimulator
from tests.integration.restore_worker.test_over_graph import a_world
from tests.integration.restore_worker.test_retry import retried
from tests.support.engine_lab import Lab
from tests.support.one_type import captured, fill, wipe
from tests.support.restore_lab import RestoreLab

KEY = "notificationMessageTemplate"
PATH = "deviceManagement/notificationMessageTemplates"


async def a_backup(opened: Lab, simulator: RunningSimulator) -> tuple[RestoreLab, str, str, Any]:
    """A tenant with one template, backed up: its world, its directory, the template's id and the set's."""
    directory = simulator.new_tenant()
    fill(simulator, directory, KEY)
    world = await a_world(opened, simulator, directory)
    world.tenant = await captured(simulator, directory, KEY)
    [(_, remote_id)] = world.tenant.objects
    return world, directory, remote_id, await world.back_up()


def refuse_texts(simulator: RunningSimulator, directory: str, status: int, times: int) -> None:
    """Let the calls for a template's texts fail."""
    where = {"tenant": directory, "method": "POST|PATCH|DELETE", "path": "localizedNotificationMessages"}
    simulator.admin("POST", "/faults", {"harm": "status", "status": status, "times": times, **where})


def edit(simulator: RunningSimulator, directory: str, remote_id: str, change: Json) -> None:
    """Change the template itself, as an administrator does."""
    with simulator.graph(directory) as graph:
        graph.patch(f"{PATH}/{remote_id}", json=change).raise_for_status()


async def row(world: RestoreLab, run: RunRecord) -> dict[str, Any]:
    [only] = (await world.items(run)).values()
    return only


async def test_a_refusal_of_the_rest_names_the_object_that_is_there_and_an_undo_knows_it(
    opened: Lab, simulator: RunningSimulator
) -> None:
    world, directory, _, set_id = await a_backup(opened, simulator)
    wipe(simulator, directory, KEY, world.tenant)
    preview = await world.preview(set_id)
    refuse_texts(simulator, directory, 400, 1)

    run = await world.execute(preview)

    [(_, made)] = (await captured(simulator, directory, KEY)).objects
    failed = await row(world, run)
    assert (failed["outcome"], failed["error_code"]) == ("failed", "graph.bad_request")
    assert (failed["remote_id"], failed["error_context"]["reason"]) == (made, "half_written")
    assert [one["plan"]["code"] for one in (await world.items(await world.undo(run))).values()] == [
        "restore.changed_since"
    ]
    again = await retried(world, run)
    assert (await row(world, again))["outcome"] == "applied_created"
    assert list((await captured(simulator, directory, KEY)).objects) == [(KEY, made)]


@pytest.mark.parametrize("edited", [True, False])
async def test_a_retry_completes_a_half_written_object_unless_somebody_worked_on_it_since(
    opened: Lab,
    simulator: RunningSimulator,
    edited: bool,  # noqa: FBT001  parametrised
) -> None:
    world, directory, remote_id, set_id = await a_backup(opened, simulator)
    edit(simulator, directory, remote_id, {"displayName": "Before the restore"})
    with simulator.graph(directory) as graph:
        texts = f"{PATH}/{remote_id}/localizedNotificationMessages"
        [first, *_] = graph.get(texts).raise_for_status().json()["value"]
        graph.patch(f"{texts}/{first['id']}", json={"subject": "Before the restore"}).raise_for_status()
    preview = await world.preview(set_id)
    refuse_texts(simulator, directory, 503, 100)
    run = await world.execute(preview)
    assert (await row(world, run))["error_code"] == "restore.verify_failed"
    simulator.admin("DELETE", "/faults")
    if edited:
        edit(simulator, directory, remote_id, {"displayName": "Later work"})

    again = await retried(world, run)

    [held] = (await captured(simulator, directory, KEY)).objects.values()
    if edited:
        assert (await row(world, again))["outcome"] == "unknown"
        assert held.payload["displayName"] == "Later work"
    else:
        assert (await row(world, again))["outcome"] == "applied_updated"
