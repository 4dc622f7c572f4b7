"""The restore wizard, step by step, with a real worker behind it: what locks a plan, and what opens it."""

import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine

from services.dispatcher.console.restoring import locks
from services.dispatcher.preview_views import PreviewView
from shared.domain.operations import Role
from shared.domain.runs import RunStatus
from shared.ports import RunRecord
from tests.support.builders import Person, World
from tests.support.console import cookie, from_page, session_of, signed
from tests.support.engine_lab import Lab
from tests.support.fake_writable_tenant import FakeTenant
from tests.support.restore_lab import RestoreLab, a_policy

HOST = "https://dispatcher"
CONFIGURATION = "deviceConfiguration"


@pytest.fixture
async def contoso(world: World) -> UUID:
    return await world.add_tenant("Contoso & Sons")


@pytest.fixture
async def mara(world: World, contoso: UUID) -> Person:
    return await world.add_member(contoso, Role.MANAGER)


@pytest.fixture
async def token(world: World, mara: Person) -> str:
    return await session_of(world, mara.id)


@pytest.fixture
async def browser(app: FastAPI, token: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {**cookie(token), **from_page(HOST)}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HOST, headers=headers) as client:
        yield client


@pytest.fixture
async def lab(engine: AsyncEngine, contoso: UUID) -> AsyncIterator[RestoreLab]:
    """A tenant with two policies, one of which drifted after the backup; its workers."""
    own = Lab(engine)
    yield RestoreLab(own, FakeTenant(), contoso)
    await own.close()


@pytest.fixture
async def backup(lab: RestoreLab) -> UUID:
    lab.tenant.add(CONFIGURATION, a_policy("Firewall", description="As agreed"), remote_id="fw")
    lab.tenant.add(CONFIGURATION, a_policy("Disk encryption"), remote_id="disk")
    made = await lab.back_up()
    lab.tenant.objects[CONFIGURATION, "fw"].payload["description"] = "Drifted"
    return made


def wizard(tenant: UUID, below: str = "") -> str:
    return f"/console/tenants/{tenant}/restore{below}"


class Desk:
    """What a person does at the wizard."""

    def __init__(self, browser: httpx.AsyncClient, token: str, tenant: UUID, lab: RestoreLab) -> None:
        self.browser, self.token, self.tenant, self.lab = browser, token, tenant, lab

    async def press(self, path: str, **fields: str) -> httpx.Response:
        return await self.browser.post(wizard(self.tenant, path), data=signed(self.token, **fields))

    async def run_of(self, answer: httpx.Response) -> RunRecord:
        assert answer.status_code == 303, answer.text
        run = UUID(answer.headers["location"].rpartition("/")[2])
        async with self.lab.lab.uow.begin(self.tenant) as tx:
            found = await tx.runs.get("restore_run", run)  # type: ignore[arg-type]  # the word is its value
        assert found is not None
        return found

    async def previewed(self, backup: UUID, **scope: str) -> RunRecord:
        fields = {"extent": "all", "match": "overwrite", "assignments": "with", "press": str(uuid4())}
        return await self.lab.finished(await self.run_of(await self.press(f"?backup_set={backup}", **(fields | scope))))

    async def page(self, run: RunRecord) -> str:
        return (await self.browser.get(wizard(self.tenant, f"/{run.id}"))).text

    async def execute(self, run: RunRecord, **fields: str) -> httpx.Response:
        text = await self.page(run)
        hashed = re.search(r'name="plan_hash" value="([0-9a-f]*)"', text)
        confirmed = {"impact": "yes", "tenant": "Contoso & Sons", "press": str(uuid4())}
        plan = {"plan_hash": hashed.group(1) if hashed else ""}
        return await self.press(f"/{run.id}/execute", **(confirmed | plan | fields))


@pytest.fixture
def desk(browser: httpx.AsyncClient, token: str, contoso: UUID, lab: RestoreLab) -> Desk:
    return Desk(browser, token, contoso, lab)


async def test_from_the_source_to_a_finished_restore(desk: Desk, backup: UUID) -> None:
    source = (await desk.browser.get(wizard(desk.tenant))).text
    scope = (await desk.browser.get(wizard(desk.tenant, f"?backup_set={backup}"))).text
    preview = await desk.previewed(backup)
    page = await desk.page(preview)
    execution = await desk.run_of(await desk.execute(preview))
    ended = await desk.lab.finished(execution)

    assert f"backup_set={backup}" in source
    assert "Firewall" in scope
    assert CONFIGURATION in scope
    assert ("Restore now" in page, "locked" in page) == (True, False)
    assert "change 1 in Contoso &amp; Sons" in page.replace("update", "change")
    assert ended.status is RunStatus.SUCCEEDED
    assert desk.lab.tenant.objects[CONFIGURATION, "fw"].payload["description"] == "As agreed"
    assert [write.remote_id for write in desk.lab.tenant.journal] == ["fw"]
    assert ended.metadata["safety"]["acknowledged_by"]["name"] == "Mara"


async def test_while_the_preview_runs_the_page_says_so_and_goes_on_without_a_script(desk: Desk, backup: UUID) -> None:
    run = await desk.run_of(await desk.press(f"?backup_set={backup}", extent="all"))

    page = await desk.page(run)
    refused = await desk.execute(run)

    assert '<noscript><meta http-equiv="refresh"' in page
    assert "The preview is not done yet" in page
    assert "Restore now" not in page
    assert (refused.status_code, "restore.preview_required" in refused.text) == (422, True)


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"impact": ""}, 'name="impact" value="yes" aria-invalid="true"'),
        ({"tenant": ""}, 'maxlength="300" aria-invalid="true"'),
        ({"tenant": "contoso & sons"}, 'maxlength="300" aria-invalid="true"'),
    ],
)
async def test_it_stays_locked_until_the_impact_is_acknowledged_and_the_name_is_typed(
    desk: Desk, backup: UUID, fields: dict[str, str], what: str
) -> None:
    preview = await desk.previewed(backup)

    answer = await desk.execute(preview, **fields)

    assert (answer.status_code, "restore.not_confirmed" in answer.text) == (422, True)
    assert what in answer.text
    assert desk.lab.tenant.journal == []
    lines = await desk.lab.lab.rows(
        "SELECT action, outcome, context->>'code' AS code FROM audit_logs ORDER BY sequence"
    )
    assert lines[-1]["outcome"] == "blocked"


async def test_pressed_twice_it_is_one_preview_and_one_restore(desk: Desk, backup: UUID) -> None:
    press = str(uuid4())
    first = await desk.run_of(await desk.press(f"?backup_set={backup}", extent="all", press=press))
    again = await desk.run_of(await desk.press(f"?backup_set={backup}", extent="all", press=press))
    preview = await desk.lab.finished(first)
    other = str(uuid4())
    executions = {(await desk.run_of(await desk.execute(preview, press=other))).id for _ in range(2)}

    assert first.id == again.id
    assert len(executions) == 1


async def test_only_what_was_chosen_is_looked_at(desk: Desk, backup: UUID) -> None:
    async with desk.lab.lab.uow.begin(desk.tenant) as tx:
        items = {item.display_name: item.id for item in await tx.backups.items(backup)}

    chosen = await desk.previewed(backup, **{"extent": "items", f"item.{items['Firewall']}": "yes"})
    typed = await desk.previewed(backup, **{"extent": "types", f"type.{CONFIGURATION}": "yes"})

    assert list(await desk.lab.actions(chosen)) == ["Firewall"]
    assert sorted(await desk.lab.actions(typed)) == ["Disk encryption", "Firewall"]


@pytest.mark.parametrize(
    ("scope", "code"),
    [
        ({"extent": "types"}, "selection.empty"),
        ({"extent": "items"}, "selection.empty"),
        ({"extent": "types", "type.noSuchType": "yes"}, "selection.empty"),
        ({"extent": "items", "item.nonsense": "yes"}, "request.invalid"),
        ({"extent": "items", f"item.{uuid4()}": "yes"}, "selection.unknown_items"),
        ({"extent": "whatever"}, "request.invalid"),
        ({"match": "destroy"}, "request.invalid"),
        ({"assignments": "all"}, "request.invalid"),
        ({"match": "overwrite", "copy_suffix": " (old)"}, "request.invalid"),
    ],
)
async def test_a_scope_that_means_nothing_is_shown_again_with_what_is_wrong(
    desk: Desk, backup: UUID, scope: dict[str, str], code: str
) -> None:
    answer = await desk.press(f"?backup_set={backup}", **scope)

    assert answer.status_code == 422
    assert code in answer.text
    assert 'role="alert"' in answer.text
    assert await desk.lab.lab.rows("SELECT id FROM restore_runs") == []


async def test_a_blocked_object_locks_the_plan_until_it_is_left_out(desk: Desk, backup: UUID) -> None:
    """Two live objects of the name: nobody can tell which one is meant."""
    del desk.lab.tenant.objects[CONFIGURATION, "disk"]
    for twin in ("a", "b"):
        desk.lab.tenant.add(CONFIGURATION, a_policy("Disk encryption", description=twin))
    preview = await desk.previewed(backup)

    page, refused = await desk.page(preview), await desk.execute(preview)
    without = await desk.lab.finished(await desk.run_of(await desk.press(f"/{preview.id}/leave-out")))

    assert "1 object is blocked" in page
    assert (refused.status_code, "restore.blocked" in refused.text) == (422, True)
    assert await desk.lab.actions(without) == {"Firewall": "update"}
    assert "Restore now" in await desk.page(without)
    assert desk.lab.tenant.journal == []


async def test_nothing_to_write_is_said_and_stays_locked(desk: Desk, backup: UUID) -> None:
    desk.lab.tenant.objects[CONFIGURATION, "fw"].payload["description"] = "As agreed"
    preview = await desk.previewed(backup)

    page, refused = await desk.page(preview), await desk.execute(preview)

    assert "There is nothing to write" in page
    assert (refused.status_code, "Restore now" in page) == (422, False)


async def test_a_plan_that_is_too_old_or_another_is_not_executed(desk: Desk, world: World, backup: UUID) -> None:
    preview = await desk.previewed(backup)

    another = await desk.execute(preview, plan_hash="ab" * 32)
    await world.change("UPDATE restore_runs SET completed_at = completed_at - interval '2 days'")
    page, old = await desk.page(preview), await desk.execute(preview)

    assert (another.status_code, "restore.plan_changed" in another.text) == (409, True)
    assert "The preview is stale (age)" in page
    assert (old.status_code, "restore.preview_stale" in old.text) == (409, True)
    assert desk.lab.tenant.journal == []


async def test_another_scope_is_another_preview_and_the_old_one_counts_for_itself_alone(
    desk: Desk, backup: UUID
) -> None:
    first = await desk.previewed(backup)
    second = await desk.previewed(backup, match="create_only")

    assert first.id != second.id
    assert "There is nothing to write" in await desk.page(second)
    assert f"?backup_set={backup}" in await desk.page(first)


async def test_who_may_only_read_sees_the_plan_and_no_button(
    desk: Desk, world: World, app: FastAPI, backup: UUID
) -> None:
    preview = await desk.previewed(backup)
    reader = await world.add_member(desk.tenant, Role.READONLY, "Rea")
    token = await session_of(world, reader.id)
    headers = {**cookie(token), **from_page(HOST)}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HOST, headers=headers) as browser:
        reading = Desk(browser, token, desk.tenant, desk.lab)
        page = await reading.page(preview)
        refused = await reading.execute(preview)
        tenants = (await browser.get("/console/tenants")).text
        wizard_itself = await browser.get(wizard(desk.tenant))

    assert ("It takes the role manager" in page, "Restore now" in page) == (True, False)
    assert (refused.status_code, wizard_itself.status_code) == (403, 403)
    assert "Restore…" not in tenants


async def test_a_pause_is_said_before_the_restore_that_would_wait_for_it(
    desk: Desk, world: World, backup: UUID
) -> None:
    preview = await desk.previewed(backup)
    await world.change(
        "INSERT INTO pauses (tenant_id, operation, reason, paused_by)"
        " VALUES (:tenant, 'restore.execute', 'change freeze', 'Ada')",
        tenant=desk.tenant,
    )

    assert "Work is paused (change freeze, Ada)" in await desk.page(preview)


def a_preview(**values: Any) -> PreviewView:
    known: dict[str, Any] = {"status": "succeeded", "actions": {"update": 1}, "options": {}, "items": []}
    return PreviewView(**(known | values))


@pytest.mark.parametrize(
    ("preview", "number"),
    [
        (a_preview(), 0),
        (a_preview(status="running"), 1),
        (a_preview(status="failed"), 1),
        (a_preview(status="partial"), 1),
        (a_preview(freshness="invalidated", freshness_reason="backup_set_changed"), 1),
        (a_preview(actions={"update": 1, "blocked": 2}), 1),
        (a_preview(checks={"blocking": 1, "warning": 0, "safe": 0}), 1),
        (a_preview(actions={"unchanged": 5}), 1),
        (a_preview(actions={"unchanged": 5}, freshness="stale", freshness_reason="age"), 2),
    ],
)
def test_each_thing_that_is_missing_is_a_lock(preview: PreviewView, number: int) -> None:
    assert len(locks(preview, Role.MANAGER)) == number
    assert len(locks(preview, Role.OPERATOR)) == number + 1
