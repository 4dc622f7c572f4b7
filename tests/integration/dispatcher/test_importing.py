"""A backup set that comes from elsewhere, over HTTP: stored whole, or not at all."""

import asyncio
import io
import json
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from shared.domain.operations import Role
from shared.persistence.unit_of_work import SqlUnitOfWork
from shared.ports import BackupItem
from tests.support.archives import EVERYBODY, SCRIPT, File, a_manifest, a_zip, altered, an_archive
from tests.support.builders import Person, World

CONTENT = b'{"displayName": "x"}\n'
STORED = ("backup_sets", "backup_items", "snapshots")


def tenant_of(path: str) -> UUID:
    return UUID(path.rpartition("/")[2])


async def send(http: httpx.AsyncClient, tenant: str, person: Person, archive: bytes, **query: str) -> httpx.Response:
    return await http.post(
        f"{tenant}/backup-sets/import", content=archive, params=query, headers=person.headers, timeout=60
    )


async def count(world: World, table: str) -> int:
    async with world.engine.connect() as connection:
        return int(await connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0)  # noqa: S608  a test's own


async def items_of(world: World, tenant: str, set_id: str) -> list[BackupItem]:
    async with SqlUnitOfWork(world.engine, service="test").begin(tenant_of(tenant)) as tx:
        return await tx.backups.items(UUID(set_id), limit=1000)


async def test_an_archive_becomes_a_completed_set_that_says_where_it_is_from(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World
) -> None:
    answer = await send(http, tenant, manager, an_archive([File("r1"), File("r2")]), name="Moved")

    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["imported"], made["left_out"]) == (2, [])
    stored = made["backup_set"]
    assert (stored["name"], stored["created_by"], stored["source_tenant"]) == ("Moved", manager.name, "contoso")
    assert stored["completed_at"]
    shown = await http.get(f"{tenant}/backup-sets/{stored['id']}", headers=manager.headers)
    assert shown.json() == stored
    items = await items_of(world, tenant, stored["id"])
    assert {item.remote_id for item in items} == {"r1", "r2"}
    assert {item.quality.value for item in items} == {"full"}
    async with world.engine.connect() as connection:
        audited = (await connection.execute(text("SELECT action, target_id, context FROM audit_logs"))).one()
    assert (audited.action, str(audited.target_id)) == ("backup_set.imported", stored["id"])
    assert audited.context["count"] == 2


async def test_the_same_import_again_gives_the_same_set_and_another_name_another_one(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World
) -> None:
    archive = an_archive()
    first = await send(http, tenant, manager, archive)
    again = await send(http, tenant, manager, archive)
    other = await send(http, tenant, manager, archive, name="Once more")

    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 201)
    assert first.json() == again.json()
    assert first.json()["backup_set"]["name"] == "Import of contoso, 2026-01-02"
    assert other.json()["backup_set"]["id"] != first.json()["backup_set"]["id"]
    actions = [row["action"] for row in await world.rows("SELECT action FROM audit_logs ORDER BY sequence")]
    assert actions == ["backup_set.imported", "backup_set.import_repeated", "backup_set.imported"]


async def test_the_same_import_twice_at_once_fills_one_set(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World
) -> None:
    archive = an_archive([File(f"r{number}") for number in range(250)])
    answers = await asyncio.gather(*(send(http, tenant, manager, archive) for _ in range(2)))

    assert sorted(answer.status_code for answer in answers) == [200, 201]
    assert len({answer.json()["backup_set"]["id"] for answer in answers}) == 1
    assert [answer.json()["imported"] for answer in answers] == [250, 250]
    assert (await count(world, "backup_sets"), await count(world, "backup_items")) == (1, 250)
    actions = [row["action"] for row in await world.rows("SELECT action FROM audit_logs ORDER BY sequence")]
    assert actions == ["backup_set.imported", "backup_set.import_repeated"]


async def test_what_cannot_be_taken_is_left_out_by_its_path_and_the_rest_goes_on(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World
) -> None:
    deep: Any = {}
    for _ in range(400):
        deep = {"a": [deep]}
    files = [
        File("good"),
        File("good", path="deviceManagementScript/same.json"),
        File("unknown", "madeUpPolicy"),
        File("large", content={**SCRIPT, "runs": 2**60}),
        File("deep", content={**SCRIPT, "deep": deep}),
        File(
            "baseline",
            "settingsCatalogPolicy",
            {"name": "B", "settings": [], "templateReference": {"templateFamily": "baseline"}},
        ),
        File("service's", "deviceHealthScript", {"displayName": "Microsoft's own", "isGlobalScript": True}),
        File("crowd", content={**SCRIPT, "crowd": [[]] * 500_000}),
    ]
    answer = await send(http, tenant, manager, an_archive(files))

    assert answer.status_code == 201, answer.text
    assert answer.json()["imported"] in (1, 2)
    left_out = {one["path"]: one["code"] for one in answer.json()["left_out"]}
    left_out.pop("deviceManagementScript/deep.json", None)  # as deep as this Python can follow
    assert left_out == {
        "deviceManagementScript/same.json": "backup_set.item_already_in_set",
        "madeUpPolicy/unknown.json": "policy.type_unknown",
        "deviceManagementScript/large.json": "policy.not_canonical",
        "settingsCatalogPolicy/baseline.json": "policy.type_unknown",
        "deviceHealthScript/service's.json": "policy.type_unknown",
        "deviceManagementScript/crowd.json": "folder.file_too_large",
    }


async def test_what_an_object_lacks_is_said_and_never_taken_for_nothing(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World
) -> None:
    """Settings that are missing are not "no settings", and assignments that are missing not "no assignments"."""
    files = [
        File("unassigned", content=SCRIPT),
        File("hidden", content={**SCRIPT, "isAssigned": True, "assignments": []}),
        File("garbled", content={**SCRIPT, "assignments": [EVERYBODY, "not for the staff"]}),
        File("empty", "settingsCatalogPolicy", {"name": "No settings", "assignments": []}),
        File("tag", "assignmentFilter", {"displayName": "Filter", "platform": "iOS"}),
    ]
    answer = await send(http, tenant, manager, an_archive(files))

    items = {item.remote_id: item for item in await items_of(world, tenant, answer.json()["backup_set"]["id"])}
    found = {name: (item.quality.value, [*item.warnings]) for name, item in items.items()}
    assert found == {
        "unassigned": ("degraded", ["assignments_missing"]),
        "hidden": ("degraded", ["assignments_missing"]),
        "garbled": ("degraded", ["assignments_missing"]),
        "empty": ("metadata_only", ["settings_missing"]),
        "tag": ("full", []),
    }


async def test_the_names_of_groups_travel_with_the_objects_that_refer_to_them(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shared.persistence import archive_imports  # noqa: PLC0415  to see what it is handed

    documents: list[Any] = []
    real = archive_imports.imported_item
    monkeypatch.setattr(archive_imports, "imported_item", lambda one: (documents.append(one), real(one))[1])
    target = {"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": "g1"}
    files = [
        File("to a group", content={**SCRIPT, "assignments": [{"target": target}]}),
        File("to everybody", content={**SCRIPT, "assignments": [EVERYBODY]}),
    ]
    answer = await send(http, tenant, manager, an_archive(files, groups={"g1": "Pilot", "g2": "Others"}))

    assert answer.status_code == 201
    assert [document.get("groups") for document in documents] == [{"g1": "Pilot"}, None]


def hostile() -> Iterator[tuple[str, bytes, int, str]]:
    good = an_archive()
    yield "no zip", b"PK not really", 422, "not_a_zip"
    yield "nothing", b"", 422, "not_a_zip"
    yield "no manifest", a_zip([("a.json", CONTENT)], b"{}"), 422, "manifest_invalid"
    yield "altered", altered(good, b"Clock", b"Block"), 422, "hash"
    up = "../../evil.json"
    yield "traversal", a_zip([(up, CONTENT)], a_manifest([(up, CONTENT, len(CONTENT))])), 422, "unsafe_path"
    extra = a_zip([("a.json", CONTENT), ("b.json", CONTENT)], a_manifest([("a.json", CONTENT, len(CONTENT))]))
    yield "extra", extra, 422, "extra"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        doubled = [("a.json", CONTENT), ("a.json", CONTENT)]
        yield "twice", a_zip(doubled, a_manifest([("a.json", CONTENT, len(CONTENT))])), 422, "twice"
    bomb = b" " * (17 * 1024 * 1024)
    yield "bomb that says so", a_zip([("a.json", bomb)], a_manifest([("a.json", bomb, len(bomb))])), 413, "too_large"
    yield "bomb that does not", a_zip([("a.json", bomb)], a_manifest([("a.json", bomb, 20)])), 422, "size"
    same = [("a.json", bomb[: 2**24], 2**24) for _ in range(40)]
    yield "bomb by repetition", a_zip([("a.json", bomb[: 2**24])], a_manifest(same)), 413, "too_large"
    crowd = a_manifest([("a.json", CONTENT, len(CONTENT))])[:-1] + b', "more": [' + b"[]," * 500_000 + b"[]]}"
    yield "a manifest of very many values", a_zip([("a.json", CONTENT)], crowd), 422, "manifest_invalid"
    lzma = a_zip([("a.json", CONTENT)], a_manifest([("a.json", CONTENT, len(CONTENT))]), compression=zipfile.ZIP_LZMA)
    yield "another compression", lzma, 422, "manifest_invalid"


@pytest.mark.parametrize(("archive", "status", "kind"), [pytest.param(*case[1:], id=case[0]) for case in hostile()])
async def test_an_archive_that_is_not_whole_is_refused_and_nothing_is_stored(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World, archive: bytes, status: int, kind: str
) -> None:
    answer = await send(http, tenant, manager, archive)

    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == ("archive.exceeds_limits" if status == 413 else "archive.not_whole")
    assert kind in [error["reason"] for error in answer.json()["errors"]]
    assert [await count(world, table) for table in STORED] == [0, 0, 0]


async def test_thousands_of_entries_are_counted_before_any_is_read(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(10_002):
            archive.writestr(f"{number}", b"")
    crowd = buffer.getvalue()
    liar = bytearray(crowd)
    end = liar.rindex(b"PK\x05\x06")
    liar[end + 8 : end + 12] = b"\x01\x00\x01\x00"  # the number that the zip states: one

    for body in (crowd, bytes(liar)):
        answer = await send(http, tenant, manager, body)
        assert (answer.status_code, answer.json()["code"]) == (413, "archive.exceeds_limits")
    assert [await count(world, table) for table in STORED] == [0, 0, 0]


async def test_an_archive_with_nothing_of_ours_in_it_makes_no_set(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World
) -> None:
    answers = [
        await send(http, tenant, manager, an_archive(files)) for files in ([], [File("unknown", "madeUpPolicy")])
    ]

    assert [(one.status_code, one.json()["code"]) for one in answers] == [(422, "archive.holds_nothing")] * 2
    assert [await count(world, table) for table in STORED] == [0, 0, 0]


async def test_a_body_beyond_the_limit_is_refused_and_the_limit_of_other_bodies_does_not_count(
    http: httpx.AsyncClient, app: FastAPI, tenant: str, manager: Person, world: World
) -> None:
    archive = an_archive()
    app.state.max_body = len(archive) // 2
    fits = await send(http, tenant, manager, archive)
    app.state.max_import = len(archive) - 1
    too_large = await send(http, tenant, manager, archive, name="Again")

    assert fits.status_code == 201
    assert (too_large.status_code, too_large.json()["code"]) == (413, "request.too_large")
    assert await count(world, "backup_sets") == 1


async def test_strangers_and_members_without_the_role_are_told_before_a_byte_is_read(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World
) -> None:
    operator = await world.add_member(tenant_of(tenant), Role.OPERATOR)
    stranger = await world.add_person("Sam")

    async def never() -> Any:
        raise AssertionError("the body was read")
        yield b""

    forbidden = await send(http, tenant, operator, b"no archive")
    unknown = await http.post(f"{tenant}/backup-sets/import", content=b"x", headers=stranger.headers)
    nobody = await http.post(f"{tenant}/backup-sets/import", content=never())

    assert [forbidden.status_code, unknown.status_code, nobody.status_code] == [403, 404, 401]
    assert [await count(world, table) for table in STORED] == [0, 0, 0]
    async with world.engine.connect() as connection:
        assert await connection.scalar(text("SELECT action FROM audit_logs")) == "backup_set.import_refused"


async def test_one_import_too_many_is_told_to_come_back(
    http: httpx.AsyncClient, app: FastAPI, tenant: str, manager: Person, world: World
) -> None:
    async with app.state.room.uploads.place(), app.state.room.uploads.place():
        refused = await send(http, tenant, manager, an_archive())
    taken = await send(http, tenant, manager, an_archive())

    assert (refused.status_code, refused.json()["code"]) == (503, "service.overloaded")
    assert refused.headers["retry-after"]
    assert taken.status_code == 201


async def test_an_import_that_died_half_way_is_completed_by_its_repetition(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World
) -> None:
    archive = an_archive([File(f"r{number}") for number in range(3)])
    made = (await send(http, tenant, manager, archive)).json()["backup_set"]["id"]
    async with world.engine.begin() as connection:  # as if the process had died between two portions
        await connection.execute(text("UPDATE backup_sets SET completed_at = NULL"))
        await connection.execute(text("DELETE FROM backup_items WHERE remote_id = 'r2'"))
    answer = await send(http, tenant, manager, archive)

    again = answer.json()
    assert (answer.status_code, again["backup_set"]["id"], again["imported"]) == (201, made, 3)
    assert again["backup_set"]["completed_at"]


async def test_a_set_that_is_whole_is_not_changed_by_a_repetition(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World
) -> None:
    """As after an upgrade that knows more types: a backup set that somebody may have restored from stays as it is."""
    archive = an_archive([File("r1"), File("r2")])
    await send(http, tenant, manager, archive)
    async with world.engine.begin() as connection:
        await connection.execute(text("DELETE FROM backup_items WHERE remote_id = 'r2'"))
    again = await send(http, tenant, manager, archive)

    assert (again.status_code, again.json()["imported"]) == (200, 1)
    assert await count(world, "backup_items") == 1


async def test_what_an_archive_says_of_itself_is_made_fit_to_be_stored(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World
) -> None:
    odd = File("r1\x00", path="a.json", content={**SCRIPT, "id": "\x00", "displayName": "\x00" * 5000})
    archive = an_archive([odd], tenant="con\x00toso\n" + "x" * 500, created_at="\x00" * 20)
    answer = await send(http, tenant, manager, archive)

    assert answer.status_code == 201, answer.text
    assert json.dumps(answer.json()).isprintable()
    assert len(answer.json()["backup_set"]["source_tenant"]) <= 200
    [item] = await items_of(world, tenant, answer.json()["backup_set"]["id"])
    assert item.remote_id.startswith("imported-")
