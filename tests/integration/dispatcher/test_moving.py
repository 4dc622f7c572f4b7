"""Round trips: a backup set that goes through an archive or another tool's folder is the same set elsewhere."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from shared.connectors.folder.exports import open_export
from shared.connectors.folder.layouts import Layout
from shared.connectors.folder.packing import pack
from shared.connectors.folder.unpacking import unpack
from shared.connectors.policy_types import all_types
from shared.domain.archives import verify_archive
from shared.domain.operations import Role
from shared.ports import BackupItem
from tests.support.archives import FILTER, GROUP, PLENTY, File, a_file, an_archive
from tests.support.builders import Person, World
from tests.support.bulk_lab import BulkLab, bulk_lab

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "openintunebaseline"
FILES = 95  # of the real export; all of them UTF-16


@pytest.fixture
async def bulk(database_url: str) -> AsyncIterator[BulkLab]:
    """A bulk worker on the dispatcher's database, with a tenant of its own."""
    async with bulk_lab(database_url) as bulk:
        yield bulk


@pytest.fixture
async def mara(world: World, bulk: BulkLab) -> Person:
    """A manager of the bulk worker's tenant."""
    return await world.add_member(bulk.world.tenant_id, Role.MANAGER)


async def imported(http: httpx.AsyncClient, tenant: UUID, person: Person, archive: bytes) -> dict[str, Any]:
    path = f"/v1/tenants/{tenant}/backup-sets/import"
    answer = await http.post(path, content=archive, headers=person.headers, timeout=60)
    assert answer.status_code in (200, 201), answer.text
    document: dict[str, Any] = answer.json()
    return document


async def items(bulk: BulkLab, tenant: UUID, set_id: str) -> list[BackupItem]:
    async with bulk.world.uow.begin(tenant) as tx:
        found = await tx.backups.items(UUID(set_id), limit=1000)
        unveil = (await tx.keys.cipher()).unveil  # what is stored says the same of no two tenants
        return [replace(one, fingerprint=unveil(one.fingerprint)) for one in found]


def by_key(found: list[BackupItem]) -> dict[tuple[str, str], tuple[str, str]]:
    return {(one.policy_type, one.natural_key): (one.fingerprint, one.quality.value) for one in found}


def keep(path: Path, archive: bytes) -> None:
    path.write_bytes(archive)
    assert verify_archive(path).is_whole


async def exported(bulk: BulkLab, set_id: str, path: Path) -> None:
    run = await bulk.run("backup_set.export", target_id=UUID(set_id))
    keep(path, await bulk.archive(run))


def everything() -> bytes:
    """One object of every type, assigned to a group and a filter that the archive knows."""
    files = [a_file(one, number) for number, one in enumerate(all_types(), 1)]
    files.append(File(FILTER, "assignmentFilter", {"id": FILTER, "displayName": "Laptops", "platform": "iOS"}))
    return an_archive(files, groups={GROUP: "Pilot"})


@pytest.mark.parametrize("layout", [Layout.ARCHIVE, Layout.INTUNEMANAGEMENT, Layout.INTUNECD])
async def test_a_set_that_went_through_a_format_has_the_same_fingerprints_elsewhere(
    http: httpx.AsyncClient, world: World, bulk: BulkLab, mara: Person, tmp_path: Path, layout: Layout
) -> None:
    first = await imported(http, bulk.world.tenant_id, mara, everything())
    before = by_key(await items(bulk, bulk.world.tenant_id, first["backup_set"]["id"]))
    path = tmp_path / "export.zip"
    await exported(bulk, first["backup_set"]["id"], path)
    elsewhere = await world.add_tenant("Fabrikam")
    other = await world.add_member(elsewhere, Role.MANAGER)
    if layout is not Layout.ARCHIVE:
        unpack(path, tmp_path / "folder", layout)
        with (tmp_path / "packed.zip").open("w+b") as file:
            assert pack(open_export(tmp_path / "folder"), file, PLENTY).problems == ()
        path = tmp_path / "packed.zip"
    again = await imported(http, elsewhere, other, path.read_bytes())

    assert (first["left_out"], again["left_out"]) == ([], [])
    assert by_key(await items(bulk, elsewhere, again["backup_set"]["id"])) == before
    assert again["backup_set"]["source_tenant"] == ("" if layout is Layout.INTUNECD else str(bulk.world.tenant_id))


async def test_an_export_says_nothing_of_assignments_that_were_not_captured(
    http: httpx.AsyncClient, world: World, bulk: BulkLab, mara: Person, tmp_path: Path
) -> None:
    """Otherwise "not known" would come back as "none", and a restore would take the policy from everybody."""
    content = {"displayName": "N", "scriptContent": ""}
    first = await imported(http, bulk.world.tenant_id, mara, an_archive([File(content=content)]))
    await exported(bulk, first["backup_set"]["id"], tmp_path / "export.zip")
    elsewhere = await world.add_tenant("Fabrikam")
    other = await world.add_member(elsewhere, Role.MANAGER)
    again = await imported(http, elsewhere, other, (tmp_path / "export.zip").read_bytes())

    [item] = await items(bulk, elsewhere, again["backup_set"]["id"])
    assert [warning.value for warning in item.warnings] == ["assignments_missing"]


@pytest.mark.skipif(not REAL.is_dir(), reason="no folder of real exported policies beside the repository")
async def test_every_file_of_a_real_old_export_is_imported(
    http: httpx.AsyncClient, bulk: BulkLab, mara: Person, tmp_path: Path
) -> None:
    export = open_export(REAL)
    with (tmp_path / "packed.zip").open("w+b") as file:
        packed = pack(export, file, PLENTY)
        file.seek(0)
        made = await imported(http, bulk.world.tenant_id, mara, file.read())

    assert (export.layout, len(packed.files), packed.problems) == (Layout.INTUNEMANAGEMENT, FILES, ())
    assert (made["imported"], made["left_out"]) == (FILES, [])
    before = by_key(await items(bulk, bulk.world.tenant_id, made["backup_set"]["id"]))
    await exported(bulk, made["backup_set"]["id"], tmp_path / "export.zip")
    for layout in (Layout.INTUNEMANAGEMENT, Layout.INTUNECD):
        unpack(tmp_path / "export.zip", tmp_path / layout.value, layout)
        with (tmp_path / f"{layout}.zip").open("w+b") as file:
            assert pack(open_export(tmp_path / layout.value), file, PLENTY).problems == ()
            file.seek(0)
            again = await imported(http, bulk.world.tenant_id, mara, file.read())
        assert by_key(await items(bulk, bulk.world.tenant_id, again["backup_set"]["id"])) == before
