"""Previews of random plans over the simulated Graph, and a judge.

Random are the scope, what drifts and which reads fail. The judge knows only what reached the target, and the ledger.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from shared.connectors.factory import AllConnectors
from shared.connectors.policy_types import all_types
from shared.connectors.port import CallTag, TenantConnection
from shared.domain.runs import RunStatus
from shared.ports import RunRecord
from simulator.journal import BATCH, GRAPH, MEMBER, Entry
from simulator.process import RunningSimulator
from tests.support.engine_lab import Lab
from tests.support.fake_writable_tenant import FakeTenant, Stored
from tests.support.restore_lab import RestoreLab

SECRET = "MEADOW_SIMULATOR_SECRET"
LANES = 3  # tenants at a time
PLANS_OF_A_TENANT = 50  # then a fresh one: drift wears a tenant out


@dataclass
class Previewed:
    """What was previewed, and by which seed it can be previewed again."""

    seed: int
    runs: list[RunRecord] = field(default_factory=list)
    directories: set[str] = field(default_factory=set)
    scopes: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    drifted: int = 0
    faults: int = 0

    def __str__(self) -> str:
        """One line of figures."""
        return (
            f"seed={self.seed} plans={len(self.runs)} tenants={len(self.directories)} drifted={self.drifted} "
            f"faults={self.faults} scopes={dict(self.scopes)} actions={dict(self.actions)}"
        )


async def preview_at_random(lab: Lab, simulator: RunningSimulator, *, plans: int, seed: int) -> Previewed:
    """Preview `plans` random plans to their end, each with the real engine, operation and connectors."""
    done = Previewed(seed)
    numbers = iter(range(-(-plans // PLANS_OF_A_TENANT)))

    async def lane() -> None:
        for number in numbers:
            many = min(PLANS_OF_A_TENANT, plans - number * PLANS_OF_A_TENANT)
            await _Customer(lab, simulator, done, random.Random(f"{seed}/{number}")).preview(many)  # noqa: S311  reproducible

    async with asyncio.TaskGroup() as group:
        for _ in range(LANES):
            group.create_task(lane())
    return done


class _Customer:
    """One tenant of the simulator, what was backed up of it, and what happens to it afterwards."""

    def __init__(self, lab: Lab, simulator: RunningSimulator, done: Previewed, dice: random.Random) -> None:
        self._lab = lab
        self._simulator = simulator
        self._done = done
        self._dice = dice
        self._directory = ""

    async def preview(self, plans: int) -> None:
        """Back up twice, as one's own and as an import; then drift, choose a scope and preview, so many times."""
        self._directory = await asyncio.to_thread(self._simulator.new_tenant, sample=True)
        self._done.directories.add(self._directory)
        world = await tenant_over_graph(self._lab, self._simulator, self._directory)
        world.tenant = await _copy_of(self._simulator, self._directory)
        sets = [await world.back_up(), await world.back_up(world.tenant)]
        if self._dice.random() < 0.2:  # everything twice: names alone are ambiguous
            await self._admin("sample", {})
        for _ in range(plans):
            await self._go_wrong()
            chosen = self._dice.choice(sets)
            run = await world.preview(chosen, **await self._scope(chosen))
            assert run.status is RunStatus.SUCCEEDED, (run, self._done.seed)
            self._done.runs.append(run)
            self._done.actions += Counter((run.preview or {})["actions"])

    async def _go_wrong(self) -> None:
        """Administrators work behind our back, and now and then a read fails."""
        kinds = {kind: self._dice.choice((0, 0, 1, 2)) for kind in ("change", "add", "assign")}
        kinds["delete"] = self._dice.choice((0, 0, 1))
        done = await self._admin("drift", {"seed": self._dice.randrange(2**31), **kinds})
        self._done.drifted += len(done)
        if self._dice.random() < 0.1:
            self._done.faults += 1
            harm = self._dice.choice(({"harm": "status", "status": 503}, {"harm": "drop_after"}))
            rule = {**harm, "tenant": self._directory, "method": "GET", "path": "deviceManagement"}
            await asyncio.to_thread(self._simulator.admin, "POST", "/faults", rule)

    async def _scope(self, set_id: UUID) -> dict[str, Any]:
        sql = (
            "SELECT id, policy_type FROM backup_items WHERE backup_set_id = :set ORDER BY policy_type, natural_key, id"
        )
        items = await self._lab.rows(sql, set=set_id)
        kind = self._dice.choices(("all", "types", "items"), (1, 4, 15))[0]
        self._done.scopes[kind] += 1
        if kind == "types":
            types = sorted({one["policy_type"] for one in items})
            return {"selector": {"policy_types": self._dice.sample(types, self._dice.randint(1, 2))}}
        if kind == "items":
            few = self._dice.sample(items, self._dice.randint(1, 4))
            return {"item_ids": [one["id"] for one in few]}
        return {}

    async def _admin(self, what: str, body: object) -> Any:
        return await asyncio.to_thread(self._simulator.admin, "POST", f"/tenants/{self._directory}/{what}", body)


async def tenant_over_graph(lab: Lab, simulator: RunningSimulator, directory: str) -> RestoreLab:
    """A tenant of ours whose system is one of the simulator's; `SECRET` has to be in the environment."""
    tenant_id = await lab.add_tenant(connection=settings_of(simulator))
    await lab.rows(
        "UPDATE tenants SET external_id = :directory WHERE id = :tenant RETURNING 1",
        directory=directory,
        tenant=tenant_id,
    )
    world = RestoreLab(lab, FakeTenant(), tenant_id)
    world.connectors = AllConnectors()  # type: ignore[assignment]  # the real ones in place of the fake
    return world


def settings_of(simulator: RunningSimulator) -> dict[str, str]:
    """How a tenant of the simulator is reached."""
    return {
        "graph_url": simulator.url,
        "authority_url": simulator.url,
        "client_id": simulator.client_id,
        "secret_ref": f"env:{SECRET}",
    }


async def _copy_of(simulator: RunningSimulator, directory: str) -> FakeTenant:
    """Read a whole directory, under the ids that it has there."""
    connection = TenantConnection(UUID(int=0), "graph", directory, settings_of(simulator))
    copy = FakeTenant()
    async with AllConnectors().reader(connection) as reader:
        for one in all_types():
            async for ref in reader.list_refs(one.key, CallTag()):
                policy = await reader.read(one.key, ref.remote_id, CallTag())
                copy.objects[one.key, ref.remote_id] = Stored(policy.payload, list(policy.assignments))
    return copy


def not_reads(entries: Iterable[Entry], directories: Iterable[str]) -> list[Entry]:
    """Requests to Graph that are no reads, performed or not; a batch is one when any member of it is."""
    known = set(directories)
    return [
        entry
        for entry in entries
        if entry.tenant in known
        and (
            (entry.kind in (GRAPH, MEMBER) and entry.method not in ("GET", "HEAD"))
            or (entry.kind == BATCH and entry.mutating)
        )
    ]


async def written_in_the_ledger(lab: Lab, runs: Iterable[RunRecord]) -> list[dict[str, Any]]:
    """Items of the runs that say anything but `planned`, or that a write was ever intended for."""
    return await lab.rows(
        "SELECT * FROM restore_run_items WHERE run_id = ANY(:runs) AND (outcome IS DISTINCT FROM 'planned' "
        "OR intent_at IS NOT NULL OR intent_epoch IS NOT NULL OR request_hash IS NOT NULL OR step IS NOT NULL)",
        runs=[run.id for run in runs],
    )
