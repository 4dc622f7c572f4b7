"""Keys change hands and go for good while every service works: nothing is lost, and what is gone stays gone."""

import asyncio
import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

from cli.client import Client
from cli.console import CliFailure, ExitCode
from cli.models import Run
from cli.stack import Stack
from shared.domain.runs import RunStatus
from shared.persistence.database import create_engine
from tests.support import stack as servers
from tests.support.builders import World
from tests.support.keys import a_secret
from tests.support.rabbit import eventually
from tests.support.whole_system import Customer, System, a_customer, whole_system

OLD, NEW = "old=env:REINSTATE_TEST_OLD_KEY", "new=env:REINSTATE_TEST_NEW_KEY"
VARIABLE = "KEY_ENCRYPTION_KEYS"


def test_key_encryption_keys_are_rotated_and_a_tenant_is_shredded_while_everything_works(
    stack: Stack, database_template: str, tmp_path: Path
) -> None:
    """Every run of a rotation ends well, the old key is not needed afterwards, and a shredding ends one tenant only."""
    keys = {"REINSTATE_TEST_OLD_KEY": a_secret(), "REINSTATE_TEST_NEW_KEY": a_secret(), VARIABLE: f"{OLD},{NEW}"}
    with (
        servers.temporary_database(stack, database_template) as database_url,
        servers.temporary_vhost(stack) as amqp_url,
        whole_system(
            tmp_path, database_url, amqp_url, stack.management_url, settings=keys, bulk_worker=1, restore_worker=1
        ) as system,
    ):
        asyncio.run(_rotate_and_shred(system))


async def _rotate_and_shred(system: System) -> None:
    engine = create_engine(system.database_url, service="walls")
    try:
        world = World(engine)
        async with a_customer(system, world) as leaving, a_customer(system, world) as staying:
            preview = await leaving.drifted()
            backup = preview.backup_set_id
            assert backup is not None
            await staying.capture()
            await _rotated_under_load(system, leaving, preview)
            await _still_all_there(leaving, preview)
            await _shredded(system, leaving, preview)
            await staying.capture()
    finally:
        await engine.dispose()


async def _rotated_under_load(system: System, customer: Customer, preview: Run) -> None:
    stop = asyncio.Event()
    load = [asyncio.create_task(_work(customer, preview, stop)) for _ in range(2)]
    await _restarted(system, f"{NEW},{OLD}")
    rotated = await _asked(system, "keys", "rotate")
    await _restarted(system, NEW)
    status = await _asked(system, "keys", "status")
    await customer.capture()  # by who knows the new one only
    stop.set()
    await asyncio.gather(*load)

    assert (rotated["active"], rotated["left"]) == ("new", 0)
    assert rotated["rewrapped"] >= 4, "each of two tenants has a key for hashes and one that seals"
    assert [use["key"] for use in status["wraps"]] == ["new"]
    ends = [run.status for run in (await customer.api.runs(customer.id, limit=100)).items]
    assert len(ends) > 4
    assert set(ends) == {RunStatus.SUCCEEDED}


async def _work(customer: Customer, preview: Run, stop: asyncio.Event) -> None:
    """Capture and preview without a pause; a dispatcher that starts again is waited for."""
    async with Client(customer.system.fleet.url, customer.manager.token) as api:
        own = Customer(customer.system, customer.id, customer.directory, customer.manager, api)
        while not stop.is_set():
            try:
                await own.capture()
                await own.preview(preview.backup_set_id)  # type: ignore[arg-type]  # a preview has one
            except CliFailure as failure:
                if failure.exit_code is not ExitCode.UNREACHABLE:
                    raise
                await customer.system.fleet.ready()


async def _restarted(system: System, keys: str) -> None:
    """Give the services other keys, one after the other."""
    fleet = system.fleet
    fleet.environment = {**fleet.environment, VARIABLE: keys}
    for name in ("bulk-worker", "restore-worker"):
        for old in fleet.of(name):
            fleet.launch(name)
            await fleet.ready()
            assert (await asyncio.to_thread(fleet.end, old.pid)).process.returncode == 0
    [dispatcher] = fleet.of("dispatcher")
    assert (await asyncio.to_thread(fleet.end, dispatcher.pid)).process.returncode == 0
    fleet.launch("dispatcher", "--port", fleet.url.rpartition(":")[2])
    await fleet.ready()


async def _still_all_there(customer: Customer, preview: Run) -> None:
    """What was sealed before is carried out and exported with the new key alone."""
    shown = await customer.api.preview(preview)
    assert any(item.changes for item in shown.items)
    await customer.succeeded((await customer.api.start_restore(customer.id, preview_run_id=preview.id)).run)
    export = await customer.api.start_bulk(customer.id, "backup_set.export", target_id=preview.backup_set_id)
    await customer.api.download_archive(await customer.succeeded(export.run), BytesIO())


async def _shredded(system: System, customer: Customer, preview: Run) -> None:
    """Within seconds no service reads anything of the tenant, and no run of it is worked any more."""
    name = await customer.api.tenant_name(customer.id)
    gone = await _asked(system, "tenant", "shred", str(customer.id), "--confirm", name)
    assert (gone["status"], gone["destroyed_keys"]) == ("offboarded", 2)

    async def is_closed() -> bool:
        try:
            await customer.api.preview(preview)
        except CliFailure as failure:
            return failure.code == "tenant.shredded"
        return False

    await eventually(is_closed)


async def _asked(system: System, *arguments: str) -> Any:
    """What a command of an administrator says."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "cli.main", *arguments, "--json"],
        env={**os.environ, **system.fleet.environment},
        capture_output=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout)
