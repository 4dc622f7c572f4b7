"""Configurations of apps, restored where the apps have other ids: over the simulated Graph, from capture to undo."""

import io
import zipfile
from typing import Any
from uuid import UUID

from services.bulk_worker.archive import exported
from shared.connectors.factory import AllConnectors
from shared.connectors.policy_types import policy_type
from shared.domain.archive_writer import ArchiveWriter, Subject
from shared.domain.archive_writer import Source as Origin
from shared.domain.archives import MANIFEST_NAME, Manifest
from shared.domain.referred import referred_of
from shared.domain.runs import RunStatus
from shared.persistence.archive_imports import ArchiveImport
from shared.persistence.imports import import_backup_set
from shared.ports import RunRecord
from simulator.journal import GRAPH
from simulator.process import RunningSimulator
from tests.support.bulk_lab import BulkLab
from tests.support.engine_lab import Lab
from tests.support.one_type import apps_of
from tests.support.random_previews import tenant_over_graph
from tests.support.restore_lab import ALL_DEVICES, RestoreLab

KIND, APPS = "mobileAppConfiguration", "deviceAppManagement/mobileApps"
CONFIGURATIONS = "deviceAppManagement/mobileAppConfigurations"
UNCERTAIN = "restore.app_uncertain"
SCANNER = {"@odata.type": "#microsoft.graph.iosVppApp", "displayName": "Scanner"}


def put(simulator: RunningSimulator, directory: str, collection: str, *objects: dict[str, Any]) -> list[str]:
    rows = simulator.admin(
        "POST", f"/tenants/{directory}/objects", {"objects": list(objects), "collection": collection}
    )
    return [row["id"] for row in rows]


def a_configuration(name: str, apps: list[str]) -> dict[str, Any]:
    return {
        "@odata.type": "#microsoft.graph.iosMobileAppConfiguration",
        "displayName": name,
        "targetedMobileApps": apps,
        "settings": [{"appConfigKey": "shelf", "appConfigKeyType": "stringType", "appConfigKeyValue": "north"}],
        "assignments": [ALL_DEVICES],
    }


def configured(simulator: RunningSimulator, directory: str) -> dict[str, list[str]]:
    rows = simulator.admin("GET", f"/tenants/{directory}/state")
    return {
        row["object"]["displayName"]: row["object"]["targetedMobileApps"]
        for row in rows
        if row["collection"] == CONFIGURATIONS
    }


def writes(simulator: RunningSimulator, since: int) -> list[Any]:
    return [one for one in simulator.journal(since) if one.kind == GRAPH and (one.effective or one.mutating)]


async def captured(opened: Lab, world: RestoreLab) -> tuple[UUID, list[dict[str, Any]]]:
    """A backup set of everything in the tenant, and its documents."""
    run = await BulkLab(opened, AllConnectors()).run(
        "backup_set.create", tenant_id=world.tenant_id, selector={"policy_types": [KIND]}
    )
    assert run.status is RunStatus.SUCCEEDED
    async with opened.uow.begin(world.tenant_id) as tx:
        items = await tx.backups.items(run.id, limit=100)
        documents = await tx.snapshots.read_many([item.snapshot_sha256 for item in items])
    return run.id, list(documents.values())


async def an_origin(opened: Lab, simulator: RunningSimulator) -> tuple[RestoreLab, str]:
    """A tenant with a configuration of two apps that every tenant has, and one of an app that only some have."""
    directory = simulator.new_tenant()
    [scanner] = put(simulator, directory, APPS, SCANNER)
    put(
        simulator,
        directory,
        CONFIGURATIONS,
        a_configuration("Reading", apps_of(simulator, directory)),
        a_configuration("Scanning", [scanner]),
    )
    return await tenant_over_graph(opened, simulator, directory), directory


async def references(world: RestoreLab, run: RunRecord, label: str) -> dict[str, tuple[str, str | None]]:
    rows = (await world.items(run))[label]["plan"]["references"]
    return {row["name"] or row["from"]: (row["confidence"], row["to"]) for row in rows}


async def test_a_configuration_is_restored_with_the_apps_of_the_tenant_and_one_of_a_missing_app_is_not_written(
    opened: Lab, simulator: RunningSimulator
) -> None:
    origin, theirs = await an_origin(opened, simulator)
    _, documents = await captured(opened, origin)
    directory = simulator.new_tenant()
    world = await tenant_over_graph(opened, simulator, directory)
    set_id = await import_backup_set(opened.uow, world.tenant_id, "Moved", documents, "Mara")
    ours = apps_of(simulator, directory)
    assert len(ours) == 2
    assert not set(ours) & set(apps_of(simulator, theirs))
    mark = simulator.last_seq()

    preview = await world.preview(set_id)

    names = await references(world, preview, "Reading")
    assert {name: confidence for name, (confidence, _) in names.items()} == {"Reader": "mapped", "Notes": "mapped"}
    assert {to for _, to in names.values()} == set(ours)
    assert await references(world, preview, "Scanning") == {"Scanner": ("missing", None)}
    assert await world.actions(preview) == {"Reading": "create", "Scanning": "blocked"}
    [check] = [one for one in (await world.items(preview))["Scanning"]["plan"]["checks"] if one["code"] == UNCERTAIN]
    assert check["severity"] == "blocking"
    assert not writes(simulator, mark)

    run = await world.execute(preview)

    assert await world.outcomes(run) == {"Reading": ("applied_created", None), "Scanning": ("blocked", UNCERTAIN)}
    assert configured(simulator, directory).keys() == {"Reading"}
    assert set(configured(simulator, directory)["Reading"]) == set(ours)
    assert {one.status for one in writes(simulator, mark)} <= {200, 201, 204}
    rows = await opened.rows("SELECT * FROM restore_id_map WHERE run_id = :run", run=run.id)
    mapped = {row["source_id"]: row["target_id"] for row in rows if row["policy_type"] == "mobileApp"}
    assert set(mapped) == set(apps_of(simulator, theirs))
    assert set(mapped.values()) == set(ours)

    undone = await world.execute(await world.undo(run))
    assert {outcome for outcome, _ in (await world.outcomes(undone)).values()} == {"applied_deleted"}
    assert configured(simulator, directory) == {}


async def test_once_the_app_is_there_another_preview_restores_what_was_blocked(
    opened: Lab, simulator: RunningSimulator
) -> None:
    origin, _ = await an_origin(opened, simulator)
    _, documents = await captured(opened, origin)
    directory = simulator.new_tenant()
    world = await tenant_over_graph(opened, simulator, directory)
    set_id = await import_backup_set(opened.uow, world.tenant_id, "Moved", documents, "Mara")
    preview = await world.preview(set_id)
    [scanner] = put(simulator, directory, APPS, SCANNER)

    late = await world.execute(preview)
    run = await world.execute(await world.preview(set_id))

    assert (await world.outcomes(late))["Scanning"] == ("blocked", UNCERTAIN)
    assert configured(simulator, directory)["Scanning"] == [scanner]
    assert (await world.outcomes(run))["Scanning"] == ("applied_created", None)


async def test_an_app_that_means_something_else_at_the_execution_stops_the_item(
    opened: Lab, simulator: RunningSimulator
) -> None:
    origin, _ = await an_origin(opened, simulator)
    _, documents = await captured(opened, origin)
    directory = simulator.new_tenant()
    put(simulator, directory, APPS, SCANNER)
    world = await tenant_over_graph(opened, simulator, directory)
    preview = await world.preview(await import_backup_set(opened.uow, world.tenant_id, "Moved", documents, "Mara"))
    put(simulator, directory, APPS, SCANNER)  # a namesake
    run = await world.execute(preview)
    assert await world.outcomes(run) == {
        "Reading": ("applied_created", None),
        "Scanning": ("blocked", "restore.plan_changed"),
    }
    assert "Scanning" not in configured(simulator, directory)


async def test_a_changed_configuration_is_put_back_in_its_own_tenant_and_that_is_undone(
    opened: Lab, simulator: RunningSimulator
) -> None:
    world, directory = await an_origin(opened, simulator)
    set_id, _ = await captured(opened, world)
    before = configured(simulator, directory)
    rows = simulator.admin("GET", f"/tenants/{directory}/state")
    remote_id = next(row["object"]["id"] for row in rows if row["object"].get("displayName") == "Reading")
    with simulator.graph(directory) as graph:
        kind = "#microsoft.graph.iosMobileAppConfiguration"
        change = {"@odata.type": kind, "targetedMobileApps": before["Scanning"]}
        graph.patch(f"{CONFIGURATIONS}/{remote_id}", json=change).raise_for_status()

    run = await world.execute(await world.preview(set_id))

    assert await world.outcomes(run) == {"Reading": ("applied_updated", None), "Scanning": ("unchanged", None)}
    assert configured(simulator, directory) == before
    undone = await world.execute(await world.undo(run))
    assert (await world.outcomes(undone))["Reading"] == ("applied_updated", None)
    assert configured(simulator, directory)["Reading"] == before["Scanning"]


async def test_what_is_known_of_apps_survives_an_archive(opened: Lab, simulator: RunningSimulator) -> None:
    origin, _ = await an_origin(opened, simulator)
    _, documents = await captured(opened, origin)
    file = io.BytesIO()
    with ArchiveWriter(file, Origin("contoso", "2026-01-02T03:04:05+00:00", "test"), 10**6) as writer:
        for document in documents:
            payload = document["payload"]
            writer.add(
                f"{payload['id']}.json", Subject(KIND, payload["id"], payload["displayName"]), exported(document)
            )
            writer.name_referred(referred_of(document["referred"]))
        writer.finish()
    with zipfile.ZipFile(file) as archive:
        manifest = Manifest.parse(archive.read(MANIFEST_NAME))
        batch = ArchiveImport(archive, manifest).batch(manifest.files)
    assert not batch.left_out
    again = {one.document()["payload"]["displayName"]: one.document() for one in batch.snapshots}
    assert {name: one["referred"] for name, one in again.items()} == {
        one["payload"]["displayName"]: one["referred"] for one in documents
    }
    assert {one["display_name"] for one in again["Scanning"]["referred"]} == {"Scanner"}
    assert policy_type(KIND).may_write


async def test_a_capture_is_whole_where_apps_may_not_be_listed(opened: Lab, simulator: RunningSimulator) -> None:
    origin, directory = await an_origin(opened, simulator)
    simulator.admin("POST", f"/tenants/{directory}/denied", {"collections": [APPS]})
    set_id, documents = await captured(opened, origin)
    assert len(documents) == 2
    assert not any("referred" in one for one in documents)
    preview = await origin.preview(set_id)
    assert set((await origin.actions(preview)).values()) == {"unchanged"}
