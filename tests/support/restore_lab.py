"""A world for tests of restores: a real database, the real engine, and a tenant in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import update

from services.dispatcher.handlers import Door, Source
from services.dispatcher.undoing import UndoRestore, undo_restore
from services.restore_worker.operations import restore_works
from shared.connectors.normalise import display_name, fingerprint, has_masked_secret, natural_key, normalised
from shared.connectors.policy_types import POLICY_TYPES, REFERRED_ONLY
from shared.connectors.port import Json
from shared.contracts.work import WakeUp
from shared.domain.backups import CaptureWarning, Quality
from shared.domain.referred import rows_of
from shared.domain.restore_options import RestoreOptions
from shared.domain.retry import RetryPolicy
from shared.domain.runs import Lane, RunType
from shared.engine.engine import Engine
from shared.engine.settings import EngineSettings
from shared.persistence.plan_secrets import reveal
from shared.persistence.snapshots import Snapshot
from shared.persistence.tables import restore_run_items
from shared.persistence.walls.roles import DbRole
from shared.ports import NewBackupItem, NewRun, RunRecord
from shared.runtime.ids import new_id
from tests.support.engine_lab import Lab
from tests.support.fake_writable_tenant import FakeConnectors, FakeTenant, Stored

AT_ONCE = RetryPolicy(base=timedelta(), throttle_floor=timedelta())
ALL_DEVICES = {"target": {"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"}}


def to_group(group: str, *, filter_id: str = "", excluded: bool = False) -> Json:
    """One assignment to a group."""
    kind = "exclusionGroupAssignmentTarget" if excluded else "groupAssignmentTarget"
    target: Json = {"@odata.type": f"#microsoft.graph.{kind}", "groupId": group}
    if filter_id:
        target["deviceAndAppManagementAssignmentFilterId"] = filter_id
        target["deviceAndAppManagementAssignmentFilterType"] = "include"
    return {"target": target}


def a_policy(name: str, **values: Any) -> Json:
    """A device configuration."""
    return {"@odata.type": "#microsoft.graph.windows10GeneralConfiguration", "displayName": name, **values}


def a_filter(name: str, rule: str = '(device.model -eq "A")', **values: Any) -> Json:
    """An assignment filter."""
    return {"displayName": name, "platform": "windows10AndLater", "rule": rule, **values}


def _policies(tenant: FakeTenant) -> list[tuple[tuple[str, str], Stored]]:
    return [one for one in tenant.objects.items() if one[0][0] not in REFERRED_ONLY]


@dataclass
class RestoreLab:
    """One tenant with its backup sets."""

    lab: Lab
    tenant: FakeTenant
    tenant_id: UUID
    connectors: FakeConnectors = field(init=False)
    grace: timedelta = timedelta()
    planner: str = ""  # the version of the code that works, where it is not this one

    def __post_init__(self) -> None:
        self.connectors = FakeConnectors(self.tenant)

    async def back_up(self, tenant: FakeTenant | None = None) -> UUID:
        """Capture everything; objects of another tenant are stored as an import would."""
        source = tenant or self.tenant
        set_id = new_id()
        async with self.lab.uow.begin(self.tenant_id) as tx:
            await tx.backups.create_set(set_id, name="Nightly", created_by="Mara")
            known = {} if tenant else await self._inventory(tx, source)
            captured = [self._captured(source, known, *one) for one in _policies(source)]
            await tx.snapshots.put_many([snapshot for snapshot, _ in captured])
            await tx.backups.add_items(set_id, [item for _, item in captured])
            await tx.backups.complete(set_id)
        return set_id

    async def _inventory(self, tx: Any, source: FakeTenant) -> dict[tuple[str, str], UUID]:
        for kind in POLICY_TYPES:
            await tx.policies.listed(kind, source.refs(kind))
        return {(one.policy_type, one.remote_id): one.id for one in await tx.policies.page(limit=1000)}

    @staticmethod
    def _captured(
        source: FakeTenant, known: dict[tuple[str, str], UUID], key: tuple[str, str], stored: Stored
    ) -> tuple[Snapshot, Any]:
        kind, remote_id = key
        document: Json = {"policy_type": kind, "payload": stored.payload, "assignments": stored.assignments}
        if referred := source.referred(kind, stored.payload):
            document["referred"] = rows_of(referred)
        snapshot = Snapshot.of(document)
        masked = has_masked_secret(stored.payload)
        item = NewBackupItem(
            policy_id=known.get(key),
            policy_type=kind,
            remote_id=remote_id,
            display_name=display_name(kind, stored.payload),
            natural_key=natural_key(kind, stored.payload),
            snapshot_sha256=snapshot.sha256,
            fingerprint=fingerprint(normalised(kind, stored.payload)),
            quality=Quality.DEGRADED if masked else Quality.FULL,
            warnings=(CaptureWarning.MASKED_SECRET,) if masked else (),
        )
        return snapshot, item

    async def capture(self) -> None:
        """Capture everything as it is now, and remember it as each policy's latest capture."""
        async with self.lab.uow.begin(self.tenant_id) as tx:
            known = await self._inventory(tx, self.tenant)
            captured = [(key, self._captured(self.tenant, known, key, one)) for key, one in _policies(self.tenant)]
            await tx.snapshots.put_many([snapshot for _, (snapshot, _) in captured])
            await tx.policies.captured({known[key]: snapshot.sha256 for key, (snapshot, _) in captured})

    async def preview_with(self, set_id: UUID, options: RestoreOptions, **values: Any) -> RunRecord:
        """Run a preview with these choices to its end."""
        return await self.preview(set_id, metadata={"options": options.as_json()}, **values)

    async def preview(self, set_id: UUID, **values: Any) -> RunRecord:
        """Run a preview to its end."""
        return await self.finished(await self._add_run("restore.preview", set_id, **values))

    async def execute(self, preview: RunRecord, **values: Any) -> RunRecord:
        """Run an execution of the preview to its end."""
        return await self.finished(await self.start(preview, **values))

    async def undo(self, execution: RunRecord, **values: Any) -> RunRecord:
        """Run the preview of an execution's undo to its end, through the front door's own use case."""
        command = UndoRestore(tenant_id=self.tenant_id, run_id=execution.id, requested_by="Mara")
        started = await undo_restore(command, source=Source(Door.HTTP), uow=self.lab.uow)
        return await self.finished(started.run, **values)

    async def start(self, preview: RunRecord, **values: Any) -> RunRecord:
        """Queue an execution."""
        chosen = {"options": preview.metadata["options"]} if "options" in preview.metadata else {}
        fields = {
            "writes": True,
            "preview_run_id": preview.id,
            "undo_of": preview.undo_of,
            "metadata": chosen,
            **values,
        }
        set_id = fields.pop("backup_set_id", preview.backup_set_id)
        return await self._add_run("restore.execute", set_id, **fields)

    async def finished(self, run: RunRecord, message_id: UUID | None = None, **settings: Any) -> RunRecord:
        """Wake workers until the run is over; waits between attempts are skipped."""
        for _ in range(60):
            run = await self.slice(run, message_id, redelivered=message_id is not None, **settings)
            message_id = None  # a wake-up comes again once; the next ones are new
            if run.status.is_terminal:
                return run
            await self.lab.rows("UPDATE restore_run_items SET not_before = NULL RETURNING 1")
        raise AssertionError(f"the run does not end: {run}")

    async def slice(
        self, run: RunRecord, message_id: UUID | None = None, *, redelivered: bool = False, **settings: Any
    ) -> RunRecord:
        """Work one slice."""
        uow = self.lab.working_as(DbRole.RESTORE_WORKER)
        engine = Engine(
            uow,
            self.lab.keeper_of(DbRole.RESTORE_WORKER),
            restore_works(
                uow,
                self.connectors,
                intent_grace=self.grace,
                planner=self.planner,
                reading=uow.acting_as(DbRole.PREVIEW),
            ),
            EngineSettings(owner=f"w:{uuid4().hex[:6]}", retry=AT_ONCE, **settings),
        )
        wake_up = WakeUp(tenant_id=run.tenant_id, run_type=run.run_type, run_id=run.id, lane=run.lane)
        await engine.wake(wake_up, message_id=message_id or new_id(), redelivered=redelivered)
        return await self.lab.get(run)

    async def items(self, run: RunRecord) -> dict[str, dict[str, Any]]:
        """The run's item rows by label, with what is sealed in their plans."""
        rows = await self.lab.rows("SELECT * FROM restore_run_items WHERE run_id = :run ORDER BY ordinal", run=run.id)
        async with self.lab.uow.begin(run.tenant_id) as tx:
            plans = await reveal(tx.keys, [(row["item_id"], row["plan"]) for row in rows])
        return {row["label"]: {**row, "plan": plan} for row, plan in zip(rows, plans, strict=True)}

    async def actions(self, run: RunRecord) -> dict[str, str]:
        """The planned action of each item by label."""
        return {label: row["plan"]["action"] for label, row in (await self.items(run)).items()}

    async def outcomes(self, run: RunRecord) -> dict[str, tuple[str, str | None]]:
        """Outcome and code of each item by label."""
        return {label: (row["outcome"], row["error_code"]) for label, row in (await self.items(run)).items()}

    async def die_in_intent(self, run: RunRecord, label: str, **columns: Any) -> None:
        """Leave the row of an item as a worker does that dies after its intent was committed."""
        values = {"state": "intent", "request_hash": "0" * 64, "step": "write", "intent_epoch": 1, **columns}
        async with self.lab.engine.begin() as connection:
            await connection.execute(
                update(restore_run_items)
                .where(restore_run_items.c.run_id == run.id, restore_run_items.c.label == label)
                .values(**values)
            )

    async def _add_run(self, operation: str, set_id: UUID, **values: Any) -> RunRecord:
        fields: dict[str, Any] = {
            "id": new_id(),
            "tenant_id": self.tenant_id,
            "run_type": RunType.RESTORE,
            "operation": operation,
            "idempotency_key": uuid4().hex * 2,
            "lane": Lane.INTERACTIVE,
            "writes": False,
            "requested_by": "Mara",
            "backup_set_id": set_id,
        }
        async with self.lab.uow.begin(self.tenant_id) as tx:
            run = await tx.runs.insert(NewRun(**(fields | values)))
        assert run is not None
        return run


@asynccontextmanager
async def restore_lab(lab: Lab) -> AsyncIterator[RestoreLab]:
    """Open a world with a tenant of its own."""
    yield RestoreLab(lab, FakeTenant(), await lab.add_tenant())
