"""The command line against an API that answers what a test wants."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.doctor import Health, about_postgresql
from cli.main import app
from cli.reference import reference
from tests.support.fake_api import RUN, TENANT, FakeApi, a_problem, a_run

ROOT = Path(__file__).parents[3]
BULK = f"/v1/tenants/{TENANT}/bulk-operation-runs"
RESTORES = f"/v1/tenants/{TENANT}/restore-runs"
SET = "0198c0de-0000-7000-8000-0000000000b1"
HASH = "ab" * 32
HEAVY = {"sqlalchemy", "asyncpg", "aio_pika", "faststream", "httpx", "pydantic", "fastapi", "alembic", "uvicorn"}


def reinstate(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(app, arguments, input=typed)


def a_preview(**changes: Any) -> tuple[int, dict[str, Any]]:
    entry = {
        "ordinal": 0,
        "item_id": str(RUN),
        "label": "Disk [bold]encryption",
        "policy_type": "deviceConfiguration",
        "action": "update",
        "patch": [{"op": "replace", "path": "/description", "value": "As agreed"}],
        "patch_operations": 1,
        "changes": [
            {"setting": "Description", "path": "/description", "kind": "changed", "before": "Old", "after": "As agreed"}
        ],
        "changes_left_out": 0,
    }
    nothing: dict[str, Any] = {"patch": [], "patch_operations": 0, "changes": []}
    blocked = entry | {"ordinal": 1, "label": "Kiosk", "action": "blocked"} | nothing
    blocked |= {"error": {"code": "restore.ambiguous_target", "title": "More than one", "context": {}}}
    entry |= {"checks": [{"code": "type.high_risk", "severity": "warning"}]}
    blocked |= {"checks": [{"code": "restore.ambiguous_target", "severity": "blocking"}]}
    blocked |= {"choices": [{"id": "object-7", "name": "Kiosk", "last_modified": "2026-03-02T09:30:00Z"}]}
    plan = {"status": "succeeded", "actions": {"update": 1, "blocked": 1}, "items": [entry, blocked]}
    plan |= {"plan_hash": HASH, "checks": {"blocking": 1, "warning": 1, "safe": 0}}
    return 200, plan | changes


def a_restore(operation: str = "restore.preview", **changes: Any) -> dict[str, Any]:
    return a_run(run_type="restore_run", operation=operation, **changes)


def test_json_is_the_only_thing_on_standard_output(api: FakeApi) -> None:
    api.on(f"POST {BULK}", (201, a_run(status="queued")))
    api.on(f"GET {BULK}/{RUN}", (200, a_run()))

    result = reinstate("backup", "start", "--wait", "--json")

    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert (document["created"], document["run"]["status"]) == (True, "succeeded")
    assert result.stderr == ""


@pytest.mark.parametrize(("status", "code"), [("succeeded", 0), ("partial", 1), ("failed", 1), ("aborted", 1)])
def test_the_exit_code_says_how_a_run_ended(api: FakeApi, status: str, code: int) -> None:
    api.on(f"GET {BULK}/{RUN}", (200, a_run(status=status)))

    assert reinstate("runs", "watch", str(RUN), "--json").exit_code == code


def test_a_failed_run_is_told_in_one_line_with_its_code_and_next_step(api: FakeApi) -> None:
    error = {"code": "graph.throttled", "title": "The tenant's system asks to wait", "context": {}}
    api.on(f"GET {BULK}/{RUN}", (200, a_run(status="failed", error=error)))

    result = reinstate("runs", "watch", str(RUN))

    assert "graph.throttled" in result.stderr
    assert "reinstate runs show" in result.stderr
    assert "Traceback" not in result.output


def test_a_run_names_the_types_that_it_left_out(api: FakeApi) -> None:
    api.on(f"GET {BULK}/{RUN}", (200, a_run(skipped_types=["conditionalAccessPolicy"])))

    assert "conditionalAccessPolicy: no permission was given" in reinstate("runs", "show", str(RUN)).output


def test_a_refusal_has_an_exit_code_of_its_own(api: FakeApi) -> None:
    api.on(f"POST {BULK}", a_problem(403, "authz.missing_capability", "Your role does not allow it"))

    result = reinstate("backup", "start", "--json")

    assert result.exit_code == 4
    assert json.loads(result.stdout)["error"]["code"] == "authz.missing_capability"


def test_a_server_that_does_not_answer_has_an_exit_code_of_its_own(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REINSTATE_URL", "http://127.0.0.1:1")

    result = reinstate("runs", "list")

    assert result.exit_code == 3
    assert "REINSTATE_URL" in result.stderr


def test_a_missing_token_is_wrong_usage(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REINSTATE_TOKEN")

    result = reinstate("runs", "list")

    assert result.exit_code == 2
    assert "REINSTATE_TOKEN" in result.stderr


def test_the_token_is_never_printed(api: FakeApi) -> None:
    outputs = [
        reinstate("runs", "list").output,
        reinstate("runs", "show", str(RUN), "--json").output,
        reinstate("notifications", "list").output,
    ]

    assert not any("s3cret-token" in output for output in outputs)


@pytest.mark.parametrize(
    "arguments",
    [
        ("runs", "list", "--status", "nonsense"),
        ("runs", "show", "not-an-id"),
        ("backup", "start", "--policy-type", "x", "--policy", str(RUN)),
        ("notifications", "read"),
        ("restore", "execute", str(RUN), "--json"),
        ("restore", "preview", SET, "--match", "guess"),
        ("restore", "preview", SET, "--target", "no-id=x"),
        ("restore", "preview", SET, "--target", SET),
        ("restore", "preview", SET, "--target", f"{SET}=x", "--target", f"{SET.upper()}=y"),
        ("tenant", "add", "Contoso", "--directory-id", "d", "--setting", "client_secret=hunter2"),
        ("serve", "nothing"),
    ],
)
def test_wrong_usage_ends_with_2_before_anything_is_sent(api: FakeApi, arguments: tuple[str, ...]) -> None:
    result = reinstate(*arguments)

    assert result.exit_code == 2
    assert api.requests == []
    assert "hunter2" not in result.output


def test_a_preview_shows_every_action_and_with_diff_every_change(api: FakeApi) -> None:
    api.on(f"POST {RESTORES}", (201, a_restore()))
    api.on(f"GET {RESTORES}/{RUN}/preview", a_preview())

    result = reinstate("restore", "preview", SET, "--diff")

    assert result.exit_code == 0
    assert "Disk [bold]encryption" in result.stdout
    assert "restore.ambiguous_target" in result.stdout
    assert '~ /description = "As agreed"' in result.stdout
    assert "type.high_risk" in result.stdout
    assert f"--target {RUN}=object-7" in result.stdout
    assert "checks: 1 blocking, 1 warning" in result.stdout
    assert f"reinstate restore execute {RUN} --plan-hash {HASH}" in result.stderr
    assert api.bodies(f"POST {RESTORES}") == [{"is_dry_run": True, "backup_set_id": SET}]


def test_choices_are_sent_as_they_were_made(api: FakeApi) -> None:
    api.on(f"POST {RESTORES}", (201, a_restore()))
    api.on(f"GET {RESTORES}/{RUN}/preview", a_preview())
    copy = ("--match", "copy", "--assignments", "with", "--copy-suffix", " 2")

    assert reinstate("restore", "preview", SET, *copy).exit_code == 0
    assert reinstate("restore", "preview", SET, "--target", f"{SET}=a=b", "--target", f"{RUN}=c").exit_code == 0

    sent = [body["options"] for body in api.bodies(f"POST {RESTORES}")]
    assert sent == [
        {"match": "copy", "assignments": "with", "copy_suffix": " 2"},
        {"targets": {SET: "a=b", str(RUN): "c"}},
    ]


def test_a_preview_names_the_references_that_lead_nowhere_for_certain_and_no_others(api: FakeApi) -> None:
    status, document = a_preview()
    certain = {"type": "assignmentFilter", "from": "f", "to": "g", "name": "Laptops", "confidence": "mapped"}
    document["items"][0]["references"] = [
        {"type": "group", "from": "a", "name": "All [bold]staff", "confidence": "ambiguous"},
        *({"type": "group", "from": f"b{number}", "confidence": "missing"} for number in range(6)),
        certain,
    ]
    api.on(f"POST {RESTORES}", (201, a_restore()))
    api.on(f"GET {RESTORES}/{RUN}/preview", (status, document))

    plain = " ".join(reinstate("restore", "preview", SET).stdout.split())
    answered = json.loads(reinstate("restore", "preview", SET, "--json").stdout)

    assert "group All [bold]staff ambiguous, group b0 missing" in plain
    assert "2 more" in plain
    assert "Laptops" not in plain
    assert answered["items"][0]["references"][-1] == certain


def test_the_id_map_of_a_restore_is_reported_page_by_page(api: FakeApi) -> None:
    row = {"policy_type": "group", "source_id": "a", "target_id": "b", "decision": "mapped_existing"}
    pages = [{"items": [row | {"display_name": "Pilots"}], "next": "x"}, {"items": [row | {"source_id": "c"}]}]
    api.on(f"GET {RESTORES}/{RUN}", (200, a_restore("restore.execute")))
    api.on(f"GET {RESTORES}/{RUN}/id-map", *((200, page) for page in pages * 2))

    shown = reinstate("runs", "id-map", str(RUN)).stdout
    answered = json.loads(reinstate("runs", "id-map", str(RUN), "--json").stdout)

    assert "Pilots" in shown
    assert [one["source_id"] for one in answered["items"]] == ["a", "c"]


def test_a_preview_says_its_changes_unless_told_not_to_and_json_carries_them(api: FakeApi) -> None:
    api.on(f"POST {RESTORES}", (201, a_restore()))
    api.on(f"GET {RESTORES}/{RUN}/preview", a_preview())

    said, silent = reinstate("restore", "preview", SET), reinstate("restore", "preview", SET, "--no-words")
    document = json.loads(reinstate("restore", "preview", SET, "--json").stdout)

    assert "~ Description: Old → As agreed" in said.stdout
    assert "Description" not in silent.stdout
    assert document["items"][0]["changes"][0]["after"] == "As agreed"


def test_an_execution_starts_after_the_tenants_name_was_typed(api: FakeApi) -> None:
    _allow_execution(api)

    result = reinstate("restore", "execute", str(RUN), typed="Contoso\n")

    assert result.exit_code == 0
    assert api.bodies(f"POST {RESTORES}") == [
        {"is_dry_run": False, "preview_run_id": str(RUN), "plan_hash": HASH},
    ]


def test_an_execution_does_not_start_when_another_name_was_typed(api: FakeApi) -> None:
    _allow_execution(api)

    result = reinstate("restore", "execute", str(RUN), typed="contoso\n")

    assert result.exit_code == 2
    assert api.bodies(f"POST {RESTORES}") == []


def test_yes_takes_the_place_of_the_name(api: FakeApi) -> None:
    _allow_execution(api)

    result = reinstate("restore", "execute", str(RUN), "--yes", "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout)["run"]["operation"] == "restore.execute"
    assert api.bodies(f"POST {RESTORES}")[0]["plan_hash"] == HASH


def test_the_hash_that_was_looked_at_is_sent_whatever_the_preview_says_now(api: FakeApi) -> None:
    _allow_execution(api)
    api.on(f"POST {RESTORES}", a_problem(409, "restore.plan_changed", "The tenant is not as it was"))

    result = reinstate("restore", "execute", str(RUN), "--plan-hash", "cd" * 32, "--yes", "--json")

    assert result.exit_code == 4
    assert json.loads(result.stdout)["error"]["code"] == "restore.plan_changed"
    assert api.bodies(f"POST {RESTORES}")[0]["plan_hash"] == "cd" * 32


def _allow_execution(api: FakeApi) -> None:
    api.on(f"GET /v1/tenants/{TENANT}", (200, {"id": str(TENANT), "name": "Contoso"}))
    api.on(f"GET {RESTORES}/{RUN}", (200, a_restore()))
    api.on(f"GET {RESTORES}/{RUN}/preview", a_preview())
    api.on(f"POST {RESTORES}", (201, a_restore("restore.execute")))


def test_notifications_come_with_their_counts(api: FakeApi) -> None:
    one = a_run(run_id=str(RUN), interrupts=True, tenant_name="Contoso")
    page = {"items": [one], "counts": {"unread": 1, "unseen": 0, "total": 3}}
    api.on("GET /v1/notifications", (200, page))

    shown, read = reinstate("notifications", "list"), reinstate("notifications", "list", "--json")

    assert "Contoso" in shown.stdout
    assert "1 unread of 3" in shown.stdout
    assert json.loads(read.stdout)["counts"]["unread"] == 1


def test_all_notifications_are_marked_read_at_once(api: FakeApi) -> None:
    api.on("POST /v1/notifications/read-all", (200, {"changed": 3}))

    assert json.loads(reinstate("notifications", "read", "--all", "--json").stdout) == {"changed": 3}


def test_help_imports_nothing_that_is_slow_to_import() -> None:
    code = f"import sys, cli.main; print(sorted({HEAVY!r} & set(sys.modules)))"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)

    assert found.stdout.strip() == "[]"


def test_every_command_explains_itself() -> None:
    for group in ("backup", "restore", "runs", "notifications", "tenant", "user", "stack", "db", "topology"):
        assert reinstate(group, "--help").exit_code == 0


def test_the_exit_codes_are_in_the_help() -> None:
    assert "a server does not answer" in " ".join(reinstate("--help").stdout.split())


def test_the_reference_is_as_typer_writes_it() -> None:
    """Written anew with `python -m cli.reference > docs/reference/cli.md`."""
    assert (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8") == reference()


def test_definitions_are_printed_as_json() -> None:
    document = json.loads(reinstate("topology", "export", "--vhost", "v").stdout)

    assert document["vhosts"] == [{"name": "v"}]


def test_doctor_says_what_to_do_about_each_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQP_URL", "amqp://ada:hunter2@127.0.0.1:1/")
    monkeypatch.delenv("DATABASE_URL", raising=False)

    result = reinstate("doctor", "--json")

    assert result.exit_code == 1
    checks = {check["check"]: check for check in json.loads(result.stdout)["checks"]}
    assert checks["rabbitmq"]["health"] == checks["postgresql"]["health"] == "wrong"
    assert all(check["next_step"] for check in checks.values() if check["health"] != "ok")
    assert "hunter2" not in result.output


def test_an_undo_shows_the_way_back_and_says_how_to_take_it(api: FakeApi) -> None:
    execution = "0198c0de-0000-7000-8000-0000000000e1"
    entry = {"ordinal": 0, "item_id": str(RUN), "label": "Kiosk", "policy_type": "deviceConfiguration"}
    api.on(f"POST {RESTORES}/{execution}/undo", (201, a_restore(undo_of=execution, status="queued")))
    api.on(f"GET {RESTORES}/{RUN}", (200, a_restore(undo_of=execution)))
    api.on(f"GET {RESTORES}/{RUN}/preview", a_preview(actions={"delete": 1}, items=[entry | {"action": "delete"}]))

    result = reinstate("restore", "undo", execution)

    assert result.exit_code == 0
    assert "delete" in result.stdout
    assert f"reinstate restore execute {RUN}" in result.stderr


def test_deletions_are_named_before_the_tenant_s_name_is_asked_for(api: FakeApi) -> None:
    api.on(f"GET {RESTORES}/{RUN}", (200, a_restore()))
    api.on(f"GET {RESTORES}/{RUN}/preview", a_preview(actions={"update": 1, "delete": 2}))
    api.on(f"GET /v1/tenants/{TENANT}", (200, {"id": str(TENANT), "name": "Contoso"}))

    result = reinstate("restore", "execute", str(RUN), typed="Other\n")

    assert "2 objects that a restore created will be deleted" in result.stderr


@pytest.mark.parametrize(
    ("version", "health"),
    [
        ("14.9 (Debian)", Health.WRONG),
        ("15.4", Health.NOTE),
        ("16.10", Health.NOTE),
        ("17.0", Health.OK),
        ("18.6", Health.OK),
    ],
)
def test_doctor_says_what_an_older_postgresql_does_not_do(version: str, health: Health) -> None:
    assert about_postgresql(version, "here").health is health
