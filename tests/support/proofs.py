"""Proofs of restores over the simulated Graph: a tenant, what happens to it behind our back, and a judge.

The judge knows the simulator's own state and journal, and never our ledger alone.
"""

import asyncio
import random
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from shared.connectors.factory import AllConnectors
from shared.domain.plans import PlanAction
from shared.domain.runs import RunStatus
from shared.ports import RunRecord
from shared.runtime import failpoints
from shared.runtime.ids import new_id
from simulator.journal import Entry, effective_writes
from simulator.loader import read_json
from simulator.process import RunningSimulator
from tests.support.bulk_lab import BulkLab
from tests.support.engine_lab import Lab
from tests.support.random_previews import tenant_over_graph
from tests.support.restore_lab import RestoreLab

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "openintunebaseline"
MANY = 25  # real policies of one seed's tenant, beside the whole sample
POINTS = ("before_intent", "after_intent", "after_call", "after_record")
State = dict[str, dict[str, Any]]  # by collection and id


class Killed(BaseException):
    """The worker dies here."""


@dataclass
class Tallies:
    """What the proofs saw. The last two must be 1 and 0."""

    seeds: int = 0
    items: int = 0  # written
    kills: int = 0
    writes_per_item_max: int = 0
    broadened: int = 0

    def add(self, other: "Tallies") -> None:
        """Sum up."""
        self.seeds += other.seeds
        self.items += other.items
        self.kills += other.kills
        self.writes_per_item_max = max(self.writes_per_item_max, other.writes_per_item_max)
        self.broadened += other.broadened

    def as_row(self) -> dict[str, int]:
        """As JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """Name each figure."""
        return " ".join(f"{name}={number}" for name, number in self.as_row().items())


@dataclass
class Proof:
    """One seed: its tenant and its dice."""

    lab: Lab
    simulator: RunningSimulator
    seed: int
    tallies: Tallies = field(default_factory=lambda: Tallies(seeds=1))
    world: RestoreLab = field(init=False)
    directory: str = ""

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)  # noqa: S311  reproducible

    async def settle_in(self, *, real: int = MANY) -> UUID:
        """Fill a tenant with the sample, some real policies where there are any, and assignments; back it up."""
        self.directory = await asyncio.to_thread(self.simulator.new_tenant, sample=True)
        if REAL.is_dir():
            policies = real_policies()
            await self.admin("objects", {"objects": self.dice.sample(policies, min(real, len(policies)))})
        await self.admin("drift", {"seed": self.dice.randrange(2**31), "assign": 8})
        self.world = await tenant_over_graph(self.lab, self.simulator, self.directory)
        return await self.back_up()

    async def back_up(self) -> UUID:
        """Capture the whole tenant as the bulk worker does."""
        worker = BulkLab(self.lab, AllConnectors())
        values = {"tenant_id": self.world.tenant_id, "selector": {"all": True}}
        run = await worker.run("backup_set.create", **values)
        assert run.status is RunStatus.SUCCEEDED, run
        return run.id

    async def drift(self) -> None:
        """Let administrators work behind our back."""
        counts = {name: self.dice.randrange(4) for name in ("change", "delete", "assign", "add", "rename", "duplicate")}
        await self.admin("drift", {"seed": self.dice.randrange(2**31), **counts})

    async def some_items(self, set_id: UUID) -> list[UUID]:
        """Choose what to restore: a third of the set on average, at least one item."""
        rows = await self.lab.rows(
            "SELECT id FROM backup_items WHERE backup_set_id = :set ORDER BY policy_type, natural_key, remote_id",
            set=set_id,
        )
        few = self.dice.randint(1, max(1, 2 * len(rows) // 3))
        return [row["id"] for row in self.dice.sample(rows, few)]

    async def state(self) -> State:
        """Return the tenant as the simulator has it: by id, without what the service makes."""
        path = f"/tenants/{self.directory}/state?form=identified"
        found: State = await asyncio.to_thread(self.simulator.admin, "GET", path)
        return found

    async def execute(self, preview: RunRecord, *, kill: bool = False) -> RunRecord:
        """Carry a preview out; with `kill` the worker dies at some step and another one takes over."""
        before = await asyncio.to_thread(self.simulator.last_seq)
        run = await self.world.start(preview)
        message_id = new_id()
        actions = (preview.preview or {})["actions"]
        writes = sum(actions.get(action.value, 0) for action in PlanAction if action.writes)
        if kill and writes and await self._die_at_some_step(run, message_id, self.dice.randrange(writes)):
            self.tallies.kills += 1
        ended = await self.world.finished(run, message_id if kill else None)
        self._count(await asyncio.to_thread(self.simulator.journal, before))
        return ended

    async def _die_at_some_step(self, run: RunRecord, message_id: UUID, left: int) -> bool:
        """Run one slice into a failpoint, one item at a time: no other call is on its way when it dies.

        `left` is how often the failpoint is passed before; an item that is written passes each at least once.
        """

        def trap() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed

        try:
            with failpoints.armed(self.dice.choice(POINTS), trap):
                await self.world.slice(run, message_id, concurrency=1, flush_items=1)
        except Killed:
            return True
        return False

    def _count(self, entries: list[Entry]) -> None:
        """Count the writes of whole objects and of their assignments, each by item, step and address."""
        writes = [one for one in effective_writes(entries) if one.tenant == self.directory]
        steps = Counter((one.item, one.step, one.method, one.path) for one in writes if is_whole(one))
        self.tallies.items += len({one.item for one in writes})
        self.tallies.writes_per_item_max = max([self.tallies.writes_per_item_max, *steps.values()])

    async def admin(self, what: str, body: object) -> Any:
        """Ask the simulator for something that only it can do to the tenant."""
        return await asyncio.to_thread(self.simulator.admin, "POST", f"/tenants/{self.directory}/{what}", body)


@cache
def real_policies() -> list[dict[str, Any]]:
    """Read the real exports that stand beside the repository."""
    return [read_json(path) for path in sorted(REAL.rglob("*.json"))]


def is_whole(entry: Entry) -> bool:
    """Tell whether a write is that of an object, or of its assignments, and not of a part of it."""
    depth = len(entry.path.strip("/").removeprefix("beta/").split("/"))
    if entry.path.endswith("/assign"):
        return True
    return depth == (2 if entry.method == "POST" else 3)
