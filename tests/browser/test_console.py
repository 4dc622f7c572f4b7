"""The console in a real browser: signing in, watching a run move, doing something without a script, on a phone."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from playwright.async_api import Page, expect
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.domain.operations import Role
from shared.persistence.unit_of_work import SqlUnitOfWork
from tests.browser.conftest import PATIENCE, Desk, Opened
from tests.support.builders import Person, World, a_new_run
from tests.support.console import link_for

expect.set_options(timeout=PATIENCE)


async def a_run(engine: AsyncEngine, tenant: UUID) -> UUID:
    new = a_new_run(tenant_id=tenant, operation="backup_set.create", requested_by="Mara")
    async with SqlUnitOfWork(engine, service="test").begin(tenant) as tx:
        assert await tx.runs.insert(new) is not None
    return new.id


async def move(world: World, run: UUID, succeeded: int, failed: int = 0, status: str = "running") -> None:
    """Let a run of 40 items get on, as a worker's slice does."""
    ended = "clock_timestamp()" if status != "running" else "NULL"
    await world.change(
        "UPDATE bulk_operation_runs SET status = :status, started_at = coalesce(started_at, :now), total_items = 40,"  # noqa: S608  our own words
        " succeeded = :succeeded, failed = :failed, processed_items = :done, event_seq = event_seq + 1,"
        f" finished_at = {ended} WHERE id = :run",
        status=status,
        now=datetime.now(UTC),
        succeeded=succeeded,
        failed=failed,
        done=succeeded + failed,
        run=run,
    )


def address(tenant: UUID, run: UUID) -> str:
    return f"/console/tenants/{tenant}/bulk-operation-runs/{run}"


async def remember(page: Page) -> None:
    """Leave something in the page that a reload would take away."""
    await page.evaluate("window.isTheSame = true")


async def is_the_same(page: Page) -> bool:
    return bool(await page.evaluate("window.isTheSame === true"))


async def test_a_link_signs_in_by_a_button_and_once(window: Opened, world: World, mara: Person) -> None:
    link = f"/console/sign-in?link={await link_for(world, mara.id)}"
    async with window(signed_in=False) as ours:
        page = ours.page
        await page.goto("/console/runs")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Nobody is signed in")
        await page.goto(link)
        await expect(page.get_by_text("This link signs you in once")).to_be_visible()
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Runs")
        [cookie] = await ours.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Lax", "/")
        assert await page.evaluate("document.cookie") == ""
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        await page.goto(link)
        await expect(page.get_by_text("authz.sign_in_link_invalid")).to_be_visible()
        assert ours.wrong == []


async def test_a_run_moves_without_a_reload_to_its_end(
    window: Opened, world: World, engine: AsyncEngine, contoso: UUID
) -> None:
    run = await a_run(engine, contoso)
    async with window() as ours:
        page = ours.page
        await page.goto(address(contoso, run))
        await remember(page)
        state = page.locator("#state")
        await expect(state).to_contain_text("queued")

        await move(world, run, 0)
        await expect(state).to_contain_text("running")
        for done in (10, 24):
            await move(world, run, done, failed=1)
            await expect(page.locator("[data-label]")).to_have_text(
                f"{done + 1} of 40 done: {done} succeeded, 1 failed"
            )
            await expect(page.locator(".progress .succeeded")).to_have_attribute(
                "width", str(done * 100 / 40).removesuffix(".0")
            )
        await move(world, run, 39, failed=1, status="partial")

        await expect(state).to_contain_text("partial")
        await expect(page.locator("#timeline")).to_contain_text("Partial")
        await expect(page.locator("#deeds")).to_contain_text("Retry failed")
        assert await is_the_same(page)
        assert ours.wrong == []


async def test_a_page_goes_on_after_the_dispatcher_was_started_anew(
    window: Opened, desk: Desk, world: World, engine: AsyncEngine, contoso: UUID
) -> None:
    run = await a_run(engine, contoso)
    await move(world, run, 5)
    async with window() as ours:
        page = ours.page
        await page.goto(address(contoso, run))
        await remember(page)
        await expect(page.locator("[data-label]")).to_have_text("5 of 40 done: 5 succeeded")

        await desk.stop()
        await move(world, run, 21)
        await desk.start()

        await expect(page.locator("[data-label]")).to_have_text("21 of 40 done: 21 succeeded")
        await move(world, run, 40, status="succeeded")
        await expect(page.locator("#state")).to_contain_text("succeeded")
        assert await is_the_same(page)


async def test_a_run_is_aborted_without_a_script(
    window: Opened, world: World, engine: AsyncEngine, contoso: UUID
) -> None:
    run = await a_run(engine, contoso)
    async with window(java_script_enabled=False) as ours:
        page = ours.page
        await page.goto("/console/runs")
        await page.get_by_role("link", name="Backup").click()
        await expect(page.get_by_role("button", name="Abort", exact=True)).to_be_hidden()
        await page.locator("summary", has_text="Abort").click()
        await page.get_by_role("button", name="Abort", exact=True).click()

        await expect(page.locator("#state")).to_contain_text("aborted")
        await expect(page.locator("#audit")).to_contain_text("abort_requested")
        await expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    assert await world.rows("SELECT status FROM bulk_operation_runs WHERE id = :run", run=run) == [
        {"status": "aborted"}
    ]


async def test_the_list_of_runs_renews_itself_while_something_moves(
    window: Opened, world: World, engine: AsyncEngine, contoso: UUID
) -> None:
    run = await a_run(engine, contoso)
    async with window() as ours:
        page = ours.page
        await page.goto("/console/runs")
        await remember(page)
        await move(world, run, 40, status="succeeded")

        await expect(page.locator("tbody tr").first).to_contain_text("40/40")
        assert await is_the_same(page)
        assert ours.wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
async def test_every_page_fits_has_names_for_its_parts_and_asks_nobody_else(
    window: Opened, world: World, engine: AsyncEngine, contoso: UUID, mara: Person, scheme: str, width: int
) -> None:
    await world.join(mara, await world.add_tenant("A tenant with a very long name indeed GmbH & Co. KG"), Role.OPERATOR)
    run = await a_run(engine, contoso)
    await move(world, run, 3)
    async with window(color_scheme=scheme, viewport={"width": width, "height": 800}) as ours:
        page = ours.page
        for path in (
            "/console/runs",
            "/console/runs?q=statsu:x",
            "/console/tenants",
            "/console/notifications",
            address(contoso, run),
            address(contoso, contoso),
        ):
            await page.goto(path)
            facts = await page.evaluate(FACTS)
            assert facts == {"overflow": 0, "headings": 1, "nameless": [], "lang": "en", "main": 1}, path
        assert ours.wrong == []


FACTS = """() => ({
    overflow: Math.max(0, document.documentElement.scrollWidth - document.documentElement.clientWidth),
    headings: document.querySelectorAll('h1').length,
    main: document.querySelectorAll('main').length,
    lang: document.documentElement.lang,
    nameless: [...document.querySelectorAll('a, button, summary, input:not([type=hidden]), nav, svg[role=img]')]
        .filter(one => !(one.textContent.trim() || one.ariaLabel || one.labels?.length)).map(one => one.outerHTML),
})"""


async def test_the_keyboard_reaches_the_content_and_the_search(window: Opened) -> None:
    async with window() as ours:
        page = ours.page
        await page.goto("/console/runs")
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("main")).to_be_focused()
        await page.keyboard.press("/")
        await expect(page.get_by_label("Find runs")).to_be_focused()
        await page.keyboard.type("status:failed")
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("No run is like that")).to_be_visible()
