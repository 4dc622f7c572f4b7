"""An execution over HTTP: bound to the plan that was looked at, refused when it cannot be relied on any more."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest

from shared.connectors.planner_version import planner_version
from tests.support.builders import Person, World

HASH = "ab" * 32


def tenant_of(path: str) -> UUID:
    return UUID(path.rpartition("/")[2])


class Door:
    """Starts restores of one set as one person."""

    def __init__(self, http: httpx.AsyncClient, tenant: str, person: Person, set_id: UUID) -> None:
        self.http, self.place, self.person, self.set_id = http, f"{tenant}/restore-runs", person, set_id

    async def post(self, **body: Any) -> httpx.Response:
        return await self.http.post(self.place, json=body, headers=self.person.headers)

    async def get(self, path: str) -> dict[str, Any]:
        answer: dict[str, Any] = (await self.http.get(f"{self.place}/{path}", headers=self.person.headers)).json()
        return answer

    async def preview(self, **options: Any) -> UUID:
        answer = await self.post(backup_set_id=str(self.set_id), **({"options": options} if options else {}))
        assert answer.status_code == 201, answer.text
        return UUID(answer.json()["id"])

    async def execute(self, preview: UUID, **body: Any) -> httpx.Response:
        return await self.post(is_dry_run=False, preview_run_id=str(preview), **body)


@pytest.fixture
async def door(http: httpx.AsyncClient, tenant: str, manager: Person, world: World) -> Door:
    set_id, _ = await world.add_backup_set(tenant_of(tenant))
    return Door(http, tenant, manager, set_id)


def errors(answer: httpx.Response) -> tuple[int, str, list[dict[str, str]]]:
    problem = answer.json()
    return answer.status_code, problem["code"], problem["errors"]


async def test_an_execution_shows_what_was_known_when_it_was_queued(door: Door, world: World) -> None:
    preview = await door.preview(match="copy", copy_suffix=" (March)")
    await world.finish_preview(preview)

    started = await door.execute(preview, plan_hash=HASH)

    assert started.status_code == 201, started.text
    run = await door.get(started.json()["id"])
    ended = (await door.get(str(preview)))["finished_at"]
    options = {"match": "copy", "assignments": "without", "copy_suffix": " (March)"}
    assert run["options"] == options
    assert run["safety"] == {
        "preview_run_id": str(preview),
        "previewed_at": ended,
        "plan_hash": HASH,
        "planner": planner_version(),
        "actions": {"update": 2},
        "checks": {"blocking": 0, "warning": 1, "safe": 1},
        "options": options,
        "backup_set": {"id": str(door.set_id), "name": "Set", "items": 3},
        "acknowledged_by": {"id": str(door.person.id), "name": "Mara"},
    }


async def told(world: World) -> dict[str, int]:
    """Count the rows once the relay has sent what the preview's start had to tell."""
    async with asyncio.timeout(10):
        while (totals := await world.totals())["outbox"]:
            await asyncio.sleep(0.01)
    return totals


async def test_another_plan_than_the_one_looked_at_is_refused_before_a_run_is_made(door: Door, world: World) -> None:
    preview = await door.preview()
    await world.finish_preview(preview)
    before = await told(world)

    answer = await door.execute(preview, plan_hash="cd" * 32)

    assert errors(answer) == (409, "restore.plan_changed", [{"field": "plan_hash", "reason": "invalid"}])
    assert await world.totals() == before


@pytest.mark.parametrize(
    ("change", "freshness", "reason"),
    [
        ("UPDATE restore_runs SET completed_at = clock_timestamp() - interval '25 hours'", "stale", "age"),
        (
            "UPDATE restore_runs SET metadata = jsonb_set(metadata, '{evidence,planner}', '\"0-another\"')",
            "stale",
            "planner_version",
        ),
        ("UPDATE restore_runs SET metadata = metadata - 'evidence'", "stale", "evidence_missing"),
        (
            "DELETE FROM backup_items WHERE id IN (SELECT id FROM backup_items LIMIT 1)",
            "invalidated",
            "backup_set_changed",
        ),
    ],
)
async def test_a_preview_says_whether_it_may_be_relied_on_and_only_then_it_is_executed(
    door: Door, world: World, change: str, freshness: str, reason: str
) -> None:
    preview = await door.preview()
    assert "freshness" not in await door.get(str(preview)), "nothing to judge while it is not over"
    await world.finish_preview(preview)
    assert (await door.get(str(preview)))["freshness"] == "current"
    assert (await door.get(f"{preview}/preview"))["freshness"] == "current"
    await world.change(change)
    before = await told(world)

    answer = await door.execute(preview)

    assert errors(answer) == (409, "restore.preview_stale", [{"field": "preview_run_id", "reason": reason}])
    for shown in (await door.get(str(preview)), await door.get(f"{preview}/preview")):
        assert (shown["freshness"], shown["freshness_reason"]) == (freshness, reason)
    assert await world.totals() == before


async def test_other_choices_are_another_preview_and_a_preview_shows_its_own(door: Door) -> None:
    plain, careful = await door.preview(), await door.preview(match="create_only")

    assert plain != careful
    assert (await door.get(str(plain)))["options"] == {"match": "overwrite", "assignments": "with"}
    assert (await door.get(f"{careful}/preview"))["options"] == {"match": "create_only", "assignments": "with"}


async def test_a_preview_shows_checks_and_choices_of_each_entry(door: Door, world: World) -> None:
    preview = await door.preview()
    plan = """
        {"action": "blocked", "code": "restore.ambiguous_target", "candidates": 2,
         "checks": [{"code": "restore.ambiguous_target", "severity": "blocking"}],
         "choices": [{"id": "x", "name": "Disk", "last_modified": "2026-03-02T09:30:00Z"}, {"id": "y", "name": "Disk"}]}
    """
    items = """
        INSERT INTO restore_run_items (tenant_id, run_id, ordinal, item_id, label, policy_type, state, outcome, plan)
        SELECT tenant_id, :run, 0, id, 'Disk', policy_type, 'succeeded', 'planned', cast(:plan AS jsonb)
        FROM backup_items LIMIT 1
    """
    await world.change(items, run=preview, plan=plan)
    await world.finish_preview(preview)

    shown = await door.get(f"{preview}/preview")

    assert shown["checks"] == {"blocking": 0, "warning": 1, "safe": 1}
    assert shown["items"][0]["checks"] == [{"code": "restore.ambiguous_target", "severity": "blocking"}]
    assert shown["items"][0]["choices"] == [
        {"id": "x", "name": "Disk", "last_modified": "2026-03-02T09:30:00Z"},
        {"id": "y", "name": "Disk"},
    ]
