"""The operations over real exported policies, where somebody has put them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import update

from shared.connectors.folder.reader import FolderConnectors
from shared.connectors.folder.scan import scan
from shared.domain.archives import verify_archive
from shared.domain.runs import RunStatus
from shared.persistence.tables import tenants
from tests.support.bulk_lab import BulkLab
from tests.support.engine_lab import lab

FOLDER = Path(__file__).resolve().parents[4] / "shared" / "data" / "openintunebaseline"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no folder of real exported policies beside the repository")


@pytest.fixture
async def real(database_url: str) -> AsyncIterator[BulkLab]:
    async with lab(database_url) as world:
        async with world.engine.begin() as connection:
            await connection.execute(update(tenants).values(connector="folder", connection={"path": str(FOLDER)}))
        yield BulkLab(world, FolderConnectors())


async def test_every_real_policy_is_captured_once_and_exported_whole(real: BulkLab, tmp_path: Path) -> None:
    expected = len(scan(FOLDER).policies)
    first = await real.run("backup_set.create", selector={"all": True})
    assert (first.status, first.counts.succeeded) == (RunStatus.SUCCEEDED, expected)
    stored = await real.count("snapshots")
    second = await real.run("backup_set.create", selector={"all": True})
    assert second.status is RunStatus.SUCCEEDED
    assert await real.count("snapshots") == stored <= expected
    run = await real.run("backup_set.export", target_id=first.id)
    path = tmp_path / "export.zip"
    path.write_bytes(await real.archive(run))
    report = verify_archive(path)
    assert (report.files, report.is_whole) == (expected, True)
