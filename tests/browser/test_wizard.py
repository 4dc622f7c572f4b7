"""The restore wizard in a real browser: from a backup to a finished restore, with a script and without."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from playwright.async_api import expect
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.domain.runs import RunStatus
from shared.ports import RunRecord
from tests.browser.conftest import PATIENCE, Opened
from tests.support.engine_lab import Lab
from tests.support.fake_writable_tenant import FakeTenant
from tests.support.restore_lab import RestoreLab, a_policy

expect.set_options(timeout=PATIENCE)
CONFIGURATION = "deviceConfiguration"


@pytest.fixture
async def lab(engine: AsyncEngine, contoso: UUID) -> AsyncIterator[RestoreLab]:
    """A backup of two policies, one of which drifted since; workers that a test has work."""
    own = Lab(engine)
    lab = RestoreLab(own, FakeTenant(), contoso)
    for name, remote_id in (("Firewall", "fw"), ("Disk encryption", "disk")):
        lab.tenant.add(CONFIGURATION, a_policy(name, description="As agreed"), remote_id=remote_id)
    await lab.back_up()
    lab.tenant.objects[CONFIGURATION, "fw"].payload["description"] = "Drifted"
    yield lab
    await own.close()


async def worked(lab: RestoreLab, operation: str) -> RunRecord:
    """Wait for the run that the page started, and have a worker carry it out."""
    async with asyncio.timeout(PATIENCE / 1000):
        while not (rows := await lab.lab.rows("SELECT id FROM restore_runs WHERE operation = :name", name=operation)):
            await asyncio.sleep(0.02)
    async with lab.lab.uow.begin(lab.tenant_id) as tx:
        run = await tx.runs.get("restore_run", rows[0]["id"])  # type: ignore[arg-type]  # the word is its value
    assert run is not None
    return await lab.finished(run)


@pytest.mark.parametrize("script", [True, False], ids=["with a script", "without a script"])
async def test_from_a_backup_to_a_finished_restore(window: Opened, lab: RestoreLab, *, script: bool) -> None:
    async with window(java_script_enabled=script) as ours:
        page = ours.page
        await page.goto("/console/tenants")
        await page.get_by_role("link", name="Restore… Contoso").click()
        await page.get_by_role("link", name="Choose Nightly").click()
        await expect(page.get_by_label("Everything in the backup")).to_be_checked()
        await page.get_by_role("button", name="Check and preview").click()
        await expect(page.get_by_text("The preview is not done yet")).to_be_visible()

        await worked(lab, "restore.preview")
        await expect(page.get_by_role("button", name="Restore now")).to_be_visible()  # by itself, either way
        await expect(page.get_by_text("to change")).to_have_count(2)  # the sum, and Firewall
        assert lab.tenant.journal == []

        await page.get_by_label("Type the tenant's name").fill("contoso")
        await page.get_by_label("I have looked at the plan").check()
        await page.get_by_role("button", name="Restore now").click()
        await expect(page.get_by_role("alert")).to_contain_text("restore.not_confirmed")
        assert lab.tenant.journal == []

        await page.get_by_label("I have looked at the plan").check()
        await page.get_by_label("Type the tenant's name").fill("Contoso")
        await page.get_by_role("button", name="Restore now").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Restore")
        ended = await worked(lab, "restore.execute")
        if not script:
            await page.reload()
        await expect(page.locator("#state")).to_contain_text("succeeded")

        assert ended.status is RunStatus.SUCCEEDED
        assert [write.remote_id for write in lab.tenant.journal] == ["fw"]
        assert lab.tenant.objects[CONFIGURATION, "fw"].payload["description"] == "As agreed"
        assert ours.wrong == []
