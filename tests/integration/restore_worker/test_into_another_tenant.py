"""A backup restored into another tenant, whose groups and foundations have other ids: over the simulated Graph."""

from typing import Any
from uuid import UUID, uuid4

from shared.connectors.factory import AllConnectors
from shared.domain.runs import RunStatus
from shared.persistence.imports import import_backup_set
from shared.ports import RunRecord
from simulator.process import RunningSimulator
from tests.support.bulk_lab import BulkLab
from tests.support.engine_lab import Lab
from tests.support.random_previews import tenant_over_graph
from tests.support.restore_lab import ALL_DEVICES, RestoreLab, a_filter, a_policy, to_group

CONFIGURATIONS = "deviceManagement/deviceConfigurations"
UNSAFE = "restore.mapping_unsafe"
PILOTS, STAFF, KIOSKS = (str(UUID(int=number)) for number in (11, 12, 13))  # in the tenant of origin
NAMES = {PILOTS: "Pilot devices", STAFF: "All staff", KIOSKS: "O'Hara's kiosks"}
LAPTOPS, BERLIN = str(UUID(int=21)), "7"  # a filter and a scope tag


def put(simulator: RunningSimulator, directory: str, collection: str, *objects: dict[str, Any]) -> None:
    body = {"objects": list(objects), "collection": collection, "keep_ids": True}
    simulator.admin("POST", f"/tenants/{directory}/objects", body)


def with_groups(simulator: RunningSimulator, directory: str, groups: dict[str, str]) -> None:
    put(simulator, directory, "groups", *({"id": one, "displayName": name} for one, name in groups.items()))


def state(simulator: RunningSimulator, directory: str) -> dict[str, list[dict[str, Any]]]:
    """The targets of each configuration by its name, as the directory has them."""
    rows = simulator.admin("GET", f"/tenants/{directory}/state")
    return {
        one["object"]["displayName"]: sorted((entry["target"] for entry in one["assignments"]), key=str)
        for one in rows
        if one["collection"] == CONFIGURATIONS
    }


def filtered(entry: dict[str, Any], filter_id: str) -> dict[str, Any]:
    narrow = {
        "deviceAndAppManagementAssignmentFilterId": filter_id,
        "deviceAndAppManagementAssignmentFilterType": "exclude",
    }
    return {"target": {**entry["target"], **narrow}}


async def backed_up(opened: Lab, simulator: RunningSimulator) -> list[dict[str, Any]]:
    """The documents of a backup set that the bulk worker captured of a tenant of origin."""
    directory = simulator.new_tenant()
    with_groups(simulator, directory, NAMES)
    put(simulator, directory, "deviceManagement/roleScopeTags", {"id": BERLIN, "displayName": "Berlin"})
    put(simulator, directory, "deviceManagement/assignmentFilters", {**a_filter("Laptops"), "id": LAPTOPS})
    put(
        simulator,
        directory,
        CONFIGURATIONS,
        {**a_policy("Disk"), "assignments": [to_group(PILOTS), to_group(KIOSKS, excluded=True)]},
        {**a_policy("Wifi", roleScopeTagIds=[BERLIN]), "assignments": [filtered(ALL_DEVICES, LAPTOPS)]},
        {**a_policy("Mail"), "assignments": [to_group(STAFF, filter_id=LAPTOPS)]},
    )
    origin = await tenant_over_graph(opened, simulator, directory)
    run = await BulkLab(opened, AllConnectors()).run(
        "backup_set.create", tenant_id=origin.tenant_id, selector={"all": True}
    )
    assert run.status is RunStatus.SUCCEEDED
    async with opened.uow.begin(origin.tenant_id) as tx:
        items = await tx.backups.items(run.id, limit=100)
        documents = await tx.snapshots.read_many([item.snapshot_sha256 for item in items])
    return list(documents.values())


class Elsewhere:
    """Another tenant, and the backup imported into it."""

    def __init__(self, world: RestoreLab, simulator: RunningSimulator, directory: str, set_id: UUID) -> None:
        self.world, self.simulator, self.directory, self.set_id = world, simulator, directory, set_id

    async def references(self, run: RunRecord, label: str) -> dict[str, tuple[str, str | None]]:
        """What each reference of an item means, by its name or id."""
        rows = (await self.world.items(run))[label]["plan"]["references"]
        return {row["name"] or row["from"]: (row["confidence"], row["to"]) for row in rows}

    def targets(self) -> dict[str, list[dict[str, Any]]]:
        return state(self.simulator, self.directory)


async def imported(opened: Lab, simulator: RunningSimulator, groups: dict[str, str]) -> Elsewhere:
    """Make a tenant with these groups and import the backup into it. Some scope tags are there already."""
    directory = simulator.new_tenant()
    with_groups(simulator, directory, groups)
    world = await tenant_over_graph(opened, simulator, directory)
    documents = await backed_up(opened, simulator)
    return Elsewhere(
        world, simulator, directory, await import_backup_set(opened.uow, world.tenant_id, "Moved", documents, "Mara")
    )


def new_ids() -> dict[str, str]:
    """The same groups under other ids."""
    return {str(uuid4()): name for name in NAMES.values()}


def own(groups: dict[str, str], name: str) -> str:
    return next(one for one, known in groups.items() if known == name)


async def test_groups_of_the_same_names_get_what_the_groups_of_the_backup_had(
    opened: Lab, simulator: RunningSimulator
) -> None:
    groups = new_ids()
    there = await imported(opened, simulator, groups)
    preview = await there.world.preview(there.set_id)
    assert await there.references(preview, "Disk") == {
        name: ("mapped", own(groups, name)) for name in (NAMES[PILOTS], NAMES[KIOSKS])
    }
    assert await there.references(preview, "Wifi") == {"Laptops": ("created", None), "Berlin": ("created", None)}

    run = await there.world.execute(preview)

    assert run.status is RunStatus.SUCCEEDED, await there.world.outcomes(run)
    targets = there.targets()
    assert {target["groupId"] for target in targets["Disk"]} == {own(groups, NAMES[PILOTS]), own(groups, NAMES[KIOSKS])}
    assert ["exclusion" in target["@odata.type"] for target in targets["Disk"]].count(True) == 1
    assert [target["groupId"] for target in targets["Mail"]] == [own(groups, NAMES[STAFF])]
    kept = {target["deviceAndAppManagementAssignmentFilterType"] for target in (*targets["Mail"], *targets["Wifi"])}
    assert kept == {"include", "exclude"}
    rows = await opened.rows("SELECT * FROM restore_id_map WHERE run_id = :run", run=run.id)
    ids = {
        (row["policy_type"], row["display_name"]): (row["source_id"], row["target_id"], row["decision"]) for row in rows
    }
    assert {key: value for key, value in ids.items() if key[0] == "group"} == {
        ("group", name): (one, own(groups, name), "mapped_existing") for one, name in NAMES.items()
    }
    created = [key for key, value in ids.items() if value[2] == "created"]
    assert sorted(name for _, name in created) == ["Berlin", "Disk", "Laptops", "Mail", "Wifi"]
    assert ids["assignmentFilter", "Laptops"][1] in {
        target["deviceAndAppManagementAssignmentFilterId"] for target in targets["Wifi"]
    }


async def test_a_group_that_is_missing_or_ambiguous_leaves_the_assignments_of_its_items_out_and_nothing_else(
    opened: Lab, simulator: RunningSimulator
) -> None:
    groups = {str(uuid4()): NAMES[PILOTS], str(uuid4()): NAMES[STAFF], str(uuid4()): NAMES[STAFF].upper()}
    there = await imported(opened, simulator, groups)
    preview = await there.world.preview(there.set_id)
    assert await there.references(preview, "Disk") == {
        NAMES[KIOSKS]: ("missing", None),
        NAMES[PILOTS]: ("mapped", own(groups, NAMES[PILOTS])),
    }
    assert (await there.references(preview, "Mail"))[NAMES[STAFF]] == ("ambiguous", None)

    run = await there.world.execute(preview)

    outcomes = await there.world.outcomes(run)
    assert {label: outcomes[label] for label in ("Disk", "Mail", "Wifi")} == {
        "Disk": ("applied_created", UNSAFE),
        "Mail": ("applied_created", UNSAFE),
        "Wifi": ("applied_created", None),
    }
    targets = there.targets()
    assert {name: len(entries) for name, entries in targets.items()} == {"Disk": 0, "Mail": 0, "Wifi": 1}


async def test_an_execution_refuses_a_reference_that_means_something_else_since_the_preview(
    opened: Lab, simulator: RunningSimulator
) -> None:
    there = await imported(opened, simulator, new_ids())
    preview = await there.world.preview(there.set_id)
    with_groups(simulator, there.directory, {str(uuid4()): NAMES[KIOSKS]})  # now there are two of the name

    run = await there.world.execute(preview)

    outcomes = await there.world.outcomes(run)
    assert outcomes["Disk"] == ("blocked", "restore.plan_changed")
    assert outcomes["Mail"] == outcomes["Wifi"] == ("applied_created", None)
    assert sorted(there.targets()) == ["Mail", "Wifi"]


async def test_the_second_restore_finds_everything_as_it_shall_be(opened: Lab, simulator: RunningSimulator) -> None:
    there = await imported(opened, simulator, new_ids())
    await there.world.execute(await there.world.preview(there.set_id))
    again = await there.world.preview(there.set_id)
    assert set((await there.world.actions(again)).values()) == {"unchanged"}
