import io
import json
import zipfile
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from shared.connectors.folder.scan import scan
from shared.domain.archives import MANIFEST_NAME, Manifest, verify_archive
from shared.domain.errors import SafeCode
from shared.domain.runs import Counts, RunStatus
from shared.persistence.archives import CHUNK_BYTES
from shared.ports import RunRecord
from tests.support.bulk_lab import BulkLab, bulk_lab

CREATE = "backup_set.create"
ASSIGNMENT = {"id": "1", "target": {"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"}}


async def a_set(bulk: BulkLab, count: int = 3) -> RunRecord:
    for number in range(count):
        bulk.tenant.add(
            f"r{number}",
            **{"@odata.type": "#microsoft.graph.windows10GeneralConfiguration"},
            displayName=f"Größe {number}",
            assignments=[ASSIGNMENT],
        )
    return await bulk.run(CREATE, selector={"all": True})


async def test_the_archive_of_a_set_is_whole_and_tells_where_everything_is_from(bulk: BulkLab, tmp_path: Path) -> None:
    made = await a_set(bulk)
    run = await bulk.run("backup_set.export", target_id=made.id)
    assert (run.status, run.counts) == (RunStatus.SUCCEEDED, Counts(3, 3, 0, 0))
    path = tmp_path / "export.zip"
    path.write_bytes(await bulk.archive(run))
    assert verify_archive(path).is_whole
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        manifest = Manifest.parse(archive.read(MANIFEST_NAME))
        content = json.loads(archive.read("DeviceConfiguration/Größe 0.json"))
    assert content["displayName"] == "Größe 0"
    assert content["assignments"] == [ASSIGNMENT]
    assert (manifest.tenant, manifest.source) == (str(bulk.world.tenant_id), "backup_set.export")
    async with bulk.world.uow.begin(bulk.world.tenant_id) as tx:
        unveil = (await tx.keys.cipher()).unveil
    items = {item.remote_id: unveil(item.snapshot_sha256) for item in await bulk.set_items(made.id)}
    assert {file.remote_id: file.snapshot_sha256 for file in manifest.files} == items


async def test_an_unpacked_archive_is_a_folder_that_can_be_read_as_a_tenant(bulk: BulkLab, tmp_path: Path) -> None:
    made = await a_set(bulk)
    run = await bulk.run("backup_set.export", target_id=made.id)
    with zipfile.ZipFile(io.BytesIO(await bulk.archive(run))) as archive:
        archive.extractall(tmp_path)
    found = {(policy.ref.policy_type, policy.ref.display_name) for policy in scan(tmp_path).policies}
    assert found == {("deviceConfiguration", f"Größe {number}") for number in range(3)}


async def test_the_archive_does_not_depend_on_how_often_it_is_built(bulk: BulkLab) -> None:
    """A worker that dies while it builds leaves chunks; the next one builds the same file again."""
    made = await a_set(bulk)
    run = await bulk.run("backup_set.export", target_id=made.id)
    first = await bulk.archive(run)
    async with bulk.world.engine.begin() as connection:
        await connection.execute(text("DELETE FROM archives"))
        await connection.execute(
            text("UPDATE bulk_operation_runs SET status = 'running', finished_at = NULL WHERE id = :run"),
            {"run": run.id},
        )
    await bulk.finish(await bulk.world.get(run))
    assert await bulk.archive(run) == first


async def test_a_corrupt_snapshot_fails_its_item_and_stays_out_of_the_archive(bulk: BulkLab, tmp_path: Path) -> None:
    made = await a_set(bulk)
    bad = (await bulk.set_items(made.id))[0]
    async with bulk.world.engine.begin() as connection:
        statement = "UPDATE snapshots SET content = set_byte(content, 30, 0) || '\\x00' WHERE sha256 = :sha256"
        await connection.execute(text(statement), {"sha256": bad.snapshot_sha256})
    run = await bulk.run("backup_set.export", target_id=made.id)
    assert (run.status, run.counts) == (RunStatus.PARTIAL, Counts(3, 2, 1, 0))
    assert (bad.display_name, "failed", "snapshot.corrupt") in await bulk.outcomes(run)
    path = tmp_path / "export.zip"
    path.write_bytes(await bulk.archive(run))
    report = verify_archive(path)
    assert (report.files, report.is_whole) == (2, True)


async def test_policies_are_exported_as_they_were_captured_last_without_asking_the_tenant(bulk: BulkLab) -> None:
    bulk.tenant.add("captured", displayName="Captured")
    ids = await bulk.synced()
    await bulk.run("policy.capture_snapshot", target_id=ids["captured"])
    bulk.tenant.add("never")
    ids = await bulk.synced()
    bulk.tenant.calls.clear()
    run = await bulk.run("policy.export", item_ids=list(ids.values()))
    assert run.counts == Counts(2, 1, 0, 1)
    assert ("Policy never", "skipped", "snapshot.missing") in await bulk.outcomes(run)
    assert bulk.tenant.calls == []
    with zipfile.ZipFile(io.BytesIO(await bulk.archive(run))) as archive:
        assert archive.namelist() == ["DeviceConfiguration/Captured.json", MANIFEST_NAME]


async def test_an_export_of_nothing_makes_no_archive(bulk: BulkLab) -> None:
    bulk.tenant.add("never")
    ids = await bulk.synced()
    run = await bulk.run("policy.export", item_ids=list(ids.values()))
    assert run.results is not None
    assert (run.status, run.results["archive"], await bulk.count("archive_chunks")) == (RunStatus.SUCCEEDED, None, 0)


async def test_an_archive_above_the_limit_fails_the_run_and_leaves_nothing(database_url: str) -> None:
    async with bulk_lab(database_url, archive_limit=1000) as bulk:
        made = await a_set(bulk)
        run = await bulk.run("backup_set.export", target_id=made.id)
        # Every item was good by itself, so the run is not simply failed; the code says what is missing.
        assert (run.status, run.error_code) == (RunStatus.PARTIAL, SafeCode.ARCHIVE_TOO_LARGE)
        assert (await bulk.count("archives"), await bulk.count("archive_chunks")) == (0, 0)


async def test_an_archive_of_many_chunks_is_read_back_whole(bulk: BulkLab, tmp_path: Path) -> None:
    noise = [uuid4().hex for _ in range(160_000)]  # hardly compresses below half: about 3 MB
    bulk.tenant.add("large", values=noise)
    made = await bulk.run(CREATE, selector={"all": True})
    run = await bulk.run("backup_set.export", target_id=made.id)
    content = await bulk.archive(run)
    path = tmp_path / "export.zip"
    path.write_bytes(content)
    assert await bulk.count("archive_chunks") == -(-len(content) // CHUNK_BYTES) > 1
    assert verify_archive(path).is_whole


async def test_a_set_of_another_tenant_cannot_be_exported(bulk: BulkLab) -> None:
    run = await bulk.run("backup_set.export", target_id=uuid4())
    assert (run.status, run.error_code) == (RunStatus.FAILED, SafeCode.BACKUP_SET_NOT_FOUND)


@pytest.mark.parametrize("count", [120])
async def test_a_set_larger_than_a_batch_is_exported_in_a_bounded_number_of_queries(bulk: BulkLab, count: int) -> None:
    made = await a_set(bulk, count)
    run = await bulk.run("backup_set.export", target_id=made.id)
    assert run.counts == Counts(count, count, 0, 0)
    with zipfile.ZipFile(io.BytesIO(await bulk.archive(run))) as archive:
        assert len(archive.namelist()) == count + 1
