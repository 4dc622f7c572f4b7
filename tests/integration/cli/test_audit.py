"""`reinstate audit`: what administrators and auditors see."""

import asyncio
import json
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from cli.main import app
from shared.domain.audit_chain import HOUSE
from shared.persistence.database import create_engine
from shared.persistence.unit_of_work import SqlUnitOfWork
from shared.ports import AuditEntry
from tests.support.builders import World

AUDITOR = CliRunner()


@pytest.fixture
async def tenant(database_url: str, monkeypatch: pytest.MonkeyPatch) -> UUID:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.delenv("AUDIT_SIGNING_KEY", raising=False)
    engine = create_engine(database_url, service="test")
    tenant = await World(engine).add_tenant()
    uow = SqlUnitOfWork(engine, service="test")
    for of in (tenant, tenant, tenant, HOUSE):
        async with uow.begin(of) as tx:
            await tx.audit.add(AuditEntry("a.b", "success", "system", "test", "canary é"))
    await engine.dispose()
    return tenant


async def tamper(database_url: str, statement: str) -> None:
    engine = create_engine(database_url, service="test")
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(text(statement))
    await engine.dispose()


async def audit(*words: str) -> Result:
    """Call it in a thread: it has an event loop of its own."""
    return await asyncio.to_thread(AUDITOR.invoke, app, ["audit", *words])


async def test_a_trail_is_verified_in_the_database_and_from_its_export(
    database_url: str, tenant: UUID, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "trail.jsonl"

    live = await audit("verify", "--json")
    exported = await audit("export", "-o", str(file), "--json")
    monkeypatch.delenv("DATABASE_URL")
    offline = await audit("verify", str(file), "--json")
    piped = AUDITOR.invoke(app, ["audit", "verify", "-"], input=file.read_text())

    whole = {"ok": True, "tenants": 2, "rows": 4, "anchored": 0, "findings": []}
    assert (live.exit_code, json.loads(live.stdout)) == (0, whole)
    assert (offline.exit_code, json.loads(offline.stdout)) == (0, whole)
    assert (json.loads(exported.stdout)["rows"], piped.exit_code) == (4, 0)
    again = await audit("export", "-o", str(file))
    assert again.exit_code == 2, "nothing is written over"


async def test_the_first_bad_row_is_named_with_exit_code_1(database_url: str, tenant: UUID) -> None:
    await tamper(database_url, f"UPDATE audit_logs SET summary = 'x' WHERE tenant_id = '{tenant}' AND sequence = 2")  # noqa: S608  our own

    found, shown = await audit("verify", "--json"), await audit("verify")

    [finding] = json.loads(found.stdout)["findings"]
    assert (found.exit_code, shown.exit_code) == (1, 1)
    assert finding == {"tenant_id": str(tenant), "sequence": 2, "wrong": "changed", "last_anchored": 0}
    assert f"tenant {tenant}, row 2" in shown.stdout
    assert "canary" not in found.output + shown.output


async def test_signed_anchors_that_were_kept_show_that_a_tail_was_cut_off(
    database_url: str, tenant: UUID, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = json.loads((await audit("keygen", "--json")).stdout)
    monkeypatch.setenv("AUDIT_SIGNING_KEY", key["private_key"])
    kept, file = tmp_path / "anchors.jsonl", tmp_path / "trail.jsonl"
    kept.write_text((await audit("anchor")).stdout)
    again = await audit("anchor")
    public = ["--anchors", str(kept), "--public-key", key["public_key"], "--json"]

    before = await audit("verify", *public)
    await tamper(database_url, "DELETE FROM audit_logs WHERE sequence = 3")
    await tamper(
        database_url,
        "UPDATE audit_heads h SET sequence = 2, hash = l.hash FROM audit_logs l"
        " WHERE l.tenant_id = h.tenant_id AND l.sequence = 2",
    )
    await tamper(database_url, "DELETE FROM audit_anchors")
    from_within, from_outside = await audit("verify"), await audit("verify", *public)
    await audit("export", "-o", str(file))
    offline = await audit("verify", str(file), *public)

    assert again.stdout == ""
    assert (before.exit_code, json.loads(before.stdout)["anchored"]) == (0, 4)
    assert from_within.exit_code == 0
    for found in (from_outside, offline):
        [finding] = json.loads(found.stdout)["findings"]
        assert (finding["sequence"], finding["wrong"], found.exit_code) == (3, "missing", 1)


@pytest.mark.parametrize("words", [["--public-key", "no key"], ["--anchors", "/no/such/file"], ["/no/such/file"]])
async def test_what_cannot_be_read_is_wrong_usage(tenant: UUID, words: list[str]) -> None:
    assert (await audit("verify", *words)).exit_code == 2


async def test_a_file_that_is_no_export_is_wrong_usage(tenant: UUID, tmp_path: Path) -> None:
    file = tmp_path / "x"
    for content in (b"", b"{}", b"\xff\xfe", b"\x00" * 3_000_000):
        file.write_bytes(content)
        assert (await audit("verify", str(file))).exit_code == 2
