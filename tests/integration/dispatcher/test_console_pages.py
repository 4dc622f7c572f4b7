"""The console's pages: what they show of runs, tenants and the inbox, and to whom."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.domain.operations import Role
from shared.domain.runs import RunStatus, RunType
from shared.overviews import RunSearch
from shared.persistence.overviews import SqlOverviews
from shared.persistence.tenant_overviews import SqlTenantOverviews
from shared.persistence.unit_of_work import SqlUnitOfWork
from tests.support.builders import Person, World, a_new_run
from tests.support.console import cookie, from_page, session_of, signed

HOST = "https://dispatcher"
NOW = datetime.now(UTC)


@pytest.fixture
async def contoso(world: World) -> UUID:
    return await world.add_tenant()


@pytest.fixture
async def mara(world: World, contoso: UUID) -> Person:
    return await world.add_member(contoso, Role.MANAGER)


@pytest.fixture
async def token(world: World, mara: Person) -> str:
    return await session_of(world, mara.id)


@pytest.fixture
async def browser(app: FastAPI, token: str) -> AsyncIterator[httpx.AsyncClient]:
    """Mara's browser."""
    headers = {**cookie(token), **from_page(HOST)}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HOST, headers=headers) as client:
        yield client


async def add_run(engine: AsyncEngine, world: World, tenant: UUID, **values: Any) -> UUID:
    """Add a run; `age`, `status` and counts are what its row says."""
    age = values.pop("age", timedelta(0))
    status = values.pop("status", "queued")
    changed = {name: values.pop(name) for name in ("succeeded", "failed", "skipped", "total_items") if name in values}
    new = a_new_run(tenant_id=tenant, **values)
    async with SqlUnitOfWork(engine, service="test").begin(tenant) as tx:
        assert await tx.runs.insert(new) is not None
    table, finished = (
        ("restore_runs", "completed_at")
        if new.run_type is RunType.RESTORE
        else (
            "bulk_operation_runs",
            "finished_at",
        )
    )
    done = sum(changed.get(name, 0) for name in ("succeeded", "failed", "skipped"))
    sets = "".join(f", {name} = {int(value)}" for name, value in changed.items())
    ended = (
        f", {finished} = CAST(:at AS timestamptz) + interval '1 minute'" if status not in ("queued", "running") else ""
    )
    await world.change(
        f"UPDATE {table} SET created_at = :at, started_at = :at, status = :status,"  # noqa: S608  our own names
        f" processed_items = {done}{sets}{ended} WHERE id = :id",
        at=NOW - age,
        status=status,
        id=new.id,
    )
    return new.id


def address(tenant: UUID, run: UUID, kind: str = "bulk-operation-runs") -> str:
    return f"/console/tenants/{tenant}/{kind}/{run}"


async def test_the_first_page_shows_the_runs_of_every_tenant_of_mine_and_of_no_other(
    browser: httpx.AsyncClient, engine: AsyncEngine, world: World, contoso: UUID, mara: Person
) -> None:
    fabrikam, secret = await world.add_tenant("Fabrikam"), await world.add_tenant("Secret")
    await world.join(mara, fabrikam, Role.READONLY)
    mine = [await add_run(engine, world, tenant, requested_by="Ada") for tenant in (contoso, fabrikam)]
    other = await add_run(engine, world, secret, requested_by="Eve")

    text = (await browser.get("/console/runs")).text

    assert [str(run) in text for run in (*mine, other)] == [True, True, False]
    assert ("Contoso" in text, "Fabrikam" in text, "Secret" in text, "Eve" in text) == (True, True, False, False)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", "abcd"),
        ("status:failed", "b"),
        ("status:failed,succeeded", "ab"),
        ("status:active", "cd"),
        ("status:ended since:2d", "a"),
        ("kind:policy.sync", "abc"),
        ("kind:backup_set", "d"),
        ("kind:bulk", "abcd"),
        ("kind:restore", ""),
        ("by:ada", "ab"),
        ('by:"ada l"', "a"),
        ("by:%", ""),
        ("since:36h", "acd"),
        ("tenant:contoso by:ada status:failed", "b"),
        ("TENANT:fabrikam", "d"),
    ],
)
async def test_a_search_finds_what_its_qualifiers_say(
    browser: httpx.AsyncClient, engine: AsyncEngine, world: World, contoso: UUID, mara: Person, query: str, found: str
) -> None:
    fabrikam = await world.add_tenant("Fabrikam")
    await world.join(mara, fabrikam, Role.OWNER)
    day = timedelta(days=1)
    ids = {
        "a": await add_run(engine, world, contoso, requested_by="Ada Lovelace", status="succeeded", age=day),
        "b": await add_run(engine, world, contoso, requested_by="ada", status="failed", age=3 * day),
        "c": await add_run(engine, world, contoso, requested_by="Bob", status="running"),
        "d": await add_run(engine, world, fabrikam, requested_by="Bob", operation="backup_set.create"),
    }

    answer = await browser.get("/console/runs", params={"q": query})

    assert answer.status_code == 200
    assert "".join(name for name, run in ids.items() if str(run) in answer.text) == found


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("statsu:failed", "statsu: is no qualifier. There are tenant:, kind:, status:, by:, since:."),
        ("failed", "Say what “failed” is"),
        ("status:broken", "There is no status “broken”. There are queued, running"),
        ("status:", "status: wants a value."),
        ("status:failed status:queued", "status: stands there twice"),
        ("tenant:secret", "You belong to no tenant whose name has “secret” in it."),
        ("kind:policy.delete", "There is no kind “policy.delete”."),
        ("since:yesterday", "since: wants 30m, 24h, 7d, 2w or a day"),
        ("since:9999-99-99", "since: wants"),
        ("by:", "by: wants a name"),
        ("x" * 301, "A search has up to 300 printable characters."),
        ("by:\x00", "A search has up to 300 printable characters."),
    ],
)
async def test_a_search_that_cannot_be_meant_says_why(
    browser: httpx.AsyncClient, world: World, query: str, said: str
) -> None:
    await world.add_tenant("Secret")

    answer = await browser.get("/console/runs", params={"q": query})

    assert answer.status_code == 422
    assert said in answer.text
    assert 'aria-invalid="true"' in answer.text


async def test_pages_of_runs_follow_one_another_without_gap_or_repeat(
    browser: httpx.AsyncClient, engine: AsyncEngine, world: World, contoso: UUID, mara: Person
) -> None:
    fabrikam = await world.add_tenant("Fabrikam")
    await world.join(mara, fabrikam, Role.OWNER)
    made = {
        str(await add_run(engine, world, tenant, age=timedelta(minutes=index % 5)))
        for index in range(30)
        for tenant in (contoso, fabrikam)
    }
    overviews = SqlOverviews(engine)
    seen: list[str] = []
    after = None
    while page := await overviews.runs([contoso, fabrikam], RunSearch(), after=after, limit=7):
        seen += [str(run.id) for run in page]
        after = (page[-1].created_at, page[-1].id)

    assert (len(seen), set(seen)) == (60, made)
    first = (await browser.get("/console/runs")).text
    link = first.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
    second = (await browser.get(link)).text
    shown = [{run for run in made if run in text} for text in (first, second)]
    assert (len(shown[0]), len(shown[1]), shown[0] | shown[1]) == (50, 10, made)
    assert (await browser.get(link.replace("q=", "q=status:failed"))).status_code == 400


async def test_the_counts_are_of_what_is_active_and_of_what_ended_lately(
    engine: AsyncEngine, world: World, contoso: UUID
) -> None:
    other = await world.add_tenant("Other")
    for tenant, status, age in (
        (contoso, "running", 40),
        (contoso, "queued", 0),
        (contoso, "queued", 0),
        (contoso, "failed", 1),
        (contoso, "failed", 40),
        (other, "failed", 1),
    ):
        await add_run(engine, world, tenant, status=status, age=timedelta(hours=age))

    counts = await SqlOverviews(engine).counts([contoso], now=NOW)

    assert {status: n for status, n in counts.of.items() if n} == {
        RunStatus.RUNNING: 1,
        RunStatus.QUEUED: 2,
        RunStatus.FAILED: 1,
    }


async def a_failed_restore(engine: AsyncEngine, world: World, tenant: UUID) -> UUID:
    """A restore with one item of each end."""
    backup_set, items = await world.add_backup_set(tenant)
    preview = await add_run(
        engine, world, tenant, run_type=RunType.RESTORE, operation="restore.preview", backup_set_id=backup_set
    )
    await world.finish_preview(preview)
    run = await add_run(
        engine,
        world,
        tenant,
        run_type=RunType.RESTORE,
        operation="restore.execute",
        writes=True,
        backup_set_id=backup_set,
        preview_run_id=preview,
        status="partial",
        total_items=2,
        succeeded=1,
        failed=1,
    )
    for ordinal, (item, state, outcome, code) in enumerate(
        ((items[0], "succeeded", "applied_updated", None), (items[1], "failed", "failed", "graph.conflict"))
    ):
        await world.change(
            "INSERT INTO restore_run_items (tenant_id, run_id, ordinal, item_id, state, outcome, label, policy_type,"
            " error_code) VALUES"
            " (:tenant, :run, :ordinal, :item, :state, :outcome, :label, 'deviceConfiguration', :code)",
            tenant=tenant,
            run=run,
            ordinal=ordinal,
            item=item,
            state=state,
            outcome=outcome,
            label=f"<b>Policy {ordinal}</b>",
            code=code,
        )
    return run


async def test_a_run_shows_what_failed_first_with_the_next_step_and_what_can_be_done(
    browser: httpx.AsyncClient, engine: AsyncEngine, world: World, contoso: UUID
) -> None:
    run = await a_failed_restore(engine, world, contoso)
    here = address(contoso, run, "restore-runs")

    first, everything = (await browser.get(here)).text, (await browser.get(here, params={"items": "all"})).text

    assert ("Policy 1" in first, "Policy 0" in first) == (True, False)
    assert ("Policy 1" in everything, "Policy 0" in everything) == (True, True)
    assert "graph.conflict" in first
    assert "<b>Policy" not in first
    assert [f"{here}/{deed}" in first for deed in ("retry-failed", "undo", "abort")] == [True, True, False]
    assert "data-events" not in first


async def test_a_plan_says_in_words_what_would_be_done_to_each_object(
    browser: httpx.AsyncClient, engine: AsyncEngine, world: World, contoso: UUID
) -> None:
    run = await a_failed_restore(engine, world, contoso)
    [row] = await world.rows("SELECT preview_run_id AS id FROM restore_runs WHERE id = :run", run=run)
    change = {
        "setting": "<i>Description</i>",
        "path": "/d",
        "kind": "changed",
        "before": "Drifted",
        "after": "As agreed",
    }
    plan = {"action": "update", "changes": [change], "checks": [{"code": "type.high_risk", "severity": "warning"}]}
    await world.change(
        "INSERT INTO restore_run_items (tenant_id, run_id, ordinal, item_id, state, outcome, label, policy_type, plan)"
        " SELECT tenant_id, :run, ordinal, item_id, 'succeeded', 'planned', label, policy_type, CAST(:plan AS jsonb)"
        " FROM restore_run_items",
        run=row["id"],
        plan=json.dumps(plan),
    )

    page = await browser.get(f"{address(contoso, row['id'], 'restore-runs')}/plan")
    of_an_execution = await browser.get(f"{address(contoso, run, 'restore-runs')}/plan")

    assert (page.status_code, of_an_execution.status_code) == (200, 404)
    assert page.text.count("As agreed") == 2
    assert ("High risk" in page.text, "<i>Description" in page.text, "&lt;i&gt;Desc" in page.text) == (
        True,
        False,
        True,
    )
    assert (
        f"{address(contoso, row['id'], 'restore-runs')}/plan"
        in (await browser.get(address(contoso, run, "restore-runs"))).text
    )


async def test_a_button_does_what_the_api_does_and_leads_to_the_run(
    browser: httpx.AsyncClient, engine: AsyncEngine, world: World, contoso: UUID, token: str, mara: Person
) -> None:
    failed = address(contoso, await a_failed_restore(engine, world, contoso), "restore-runs")
    queued = await add_run(engine, world, contoso)
    press = "0198c0de-0000-7000-8000-0000000000c1"

    aborted = await browser.post(f"{address(contoso, queued)}/abort", data=signed(token))
    again = await browser.post(f"{address(contoso, queued)}/abort", data=signed(token))
    retried = [await browser.post(f"{failed}/retry-failed", data=signed(token, press=press)) for _ in range(2)]

    assert (aborted.status_code, aborted.headers["location"]) == (303, address(contoso, queued))
    assert (again.status_code, "The run is over" in again.text) == (409, True)
    assert f'href="{address(contoso, queued)}"' in again.text
    [row] = await world.rows("SELECT id, initiator_id FROM restore_runs WHERE retry_of IS NOT NULL")
    assert row["initiator_id"] == mara.id
    assert {one.headers["location"] for one in retried} == {address(contoso, row["id"], "restore-runs")}
    page = (await browser.get(address(contoso, queued))).text
    assert "bulk_operation_run.abort_requested" in page


async def test_who_may_only_look_is_told_which_role_it_takes(
    app: FastAPI, engine: AsyncEngine, world: World, contoso: UUID
) -> None:
    reader = await world.add_member(contoso, Role.READONLY)
    token = await session_of(world, reader.id)
    here = address(contoso, await add_run(engine, world, contoso))

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HOST, headers=cookie(token)) as client:
        page = await client.get(here)
        pressed = await client.post(f"{here}/abort", data=signed(token), headers=from_page(HOST))

    assert ("takes the role operator" in page.text, "<details" in page.text) == (True, False)
    assert pressed.status_code == 403
    assert await world.rows("SELECT id FROM bulk_operation_runs WHERE abort_requested_at IS NOT NULL") == []


async def test_each_tenant_says_how_it_stands(
    browser: httpx.AsyncClient, engine: AsyncEngine, world: World, contoso: UUID, mara: Person
) -> None:
    await world.join(mara, await world.add_tenant("Adatum"), Role.OPERATOR)
    await a_failed_restore(engine, world, contoso)
    await add_run(engine, world, contoso)
    await world.change("UPDATE backup_sets SET completed_at = :at", at=NOW - timedelta(days=3, minutes=1))
    await world.change(
        "INSERT INTO pauses (tenant_id, operation, reason, paused_by) VALUES (:tenant, '*', 'change freeze', 'Bob')",
        tenant=contoso,
    )

    adatum, ours = await SqlTenantOverviews(engine).of(await SqlOverviews(engine).places(mara.id))
    page = (await browser.get("/console/tenants")).text

    assert (adatum.place.name, adatum.last_backup_at, adatum.last_restore_id, adatum.active) == (
        "Adatum",
        None,
        None,
        0,
    )
    assert (ours.active, ours.last_restore_status, ours.last_backup_items) == (1, RunStatus.PARTIAL, 3)
    assert [(one.operation, one.reason, one.for_all_tenants) for one in ours.pauses] == [(None, "change freeze", False)]
    assert ("3 d ago" in page, "change freeze" in page, "none yet" in page) == (True, True, True)


async def test_the_inbox_is_mine_and_buttons_put_it_in_order(
    browser: httpx.AsyncClient, engine: AsyncEngine, world: World, contoso: UUID, mara: Person, token: str
) -> None:
    run = await add_run(engine, world, contoso, status="failed")
    one, other = "0198c0de-0000-7000-8000-0000000000e1", "0198c0de-0000-7000-8000-0000000000e2"
    for notification, user in ((one, mara.id), (other, (await world.add_member(contoso)).id)):
        await world.change(
            "INSERT INTO notifications (tenant_id, id, user_id, run_type, run_id, operation, status, sequence, counts,"
            " interrupts) VALUES (:tenant, :id, :user, 'bulk_operation_run', :run, 'policy.sync', 'failed', 3,"
            """ '{"total": 1, "processed": 1, "succeeded": 0, "failed": 1, "skipped": 0}', true)""",
            tenant=contoso,
            id=UUID(notification),
            user=user,
            run=run,
        )

    before = (await browser.get("/console/notifications")).text
    pressed = [
        (await browser.post(f"/console/notifications/{path}", data=signed(token))).status_code
        for path in (f"{one}/read", f"{other}/read", f"{one}/archive", "read-all")
    ]
    after = (await browser.get("/console/notifications")).text
    archived = (await browser.get("/console/notifications?show=archived")).text

    assert (one in before, other in before, address(contoso, run) in before) == (True, False, True)
    assert 'class="badge">1<' in before
    assert pressed == [303, 404, 303, 303]
    assert ("Nothing here" in after, "badge" in after, address(contoso, run) in archived) == (True, False, True)


async def test_a_page_that_follows_a_run_gets_the_same_stream_as_a_program(
    browser: httpx.AsyncClient, engine: AsyncEngine, world: World, contoso: UUID, mara: Person
) -> None:
    run = await add_run(engine, world, contoso, status="failed")

    page = await browser.get(f"{address(contoso, run)}/events")
    program = await browser.get(
        f"/v1/tenants/{contoso}/bulk-operation-runs/{run}/events", headers={**mara.headers, "Cookie": ""}
    )

    assert page.headers["content-type"].startswith("text/event-stream")
    assert page.content.partition(b"\n")[2] == program.content.partition(b"\n")[2]  # but for when to come back
    assert b"event: status" in page.content
