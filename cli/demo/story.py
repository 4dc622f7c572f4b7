"""The acts of the demonstration, in order. Every number comes from a real process, server or journal."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from cli.client import Client
from cli.console import CliFailure, ExitCode
from cli.demo.fleet import Fleet
from cli.demo.proof import ACTIONS, Proof, most_writes_of_one_call, writes_elsewhere, writes_of
from cli.models import NotificationCounts, Run
from shared.domain.runs import RunStatus
from simulator.journal import Entry, effective_writes
from simulator.process import RunningSimulator

RUN_TIMEOUT = 60.0  # seconds; no run of a demonstration takes longer
_POLL = 0.02
_KILL_AFTER = 0.35  # share of the writes after which a worker is killed
_PACE = 1.5  # seconds of latency over all planned writes: slow enough to be seen and killed in
_SEED = 3  # with our sample it spares homonyms and masked secrets, which a restore rightly leaves to a person

Progress = Callable[[Run], None]
Say = Callable[[str], None]


@dataclass
class Story:
    """One demonstration over running services."""

    simulator: RunningSimulator
    fleet: Fleet
    client: Client
    tenant_id: UUID
    tenant: str  # the directory's id, as the simulator knows it
    proof: Proof
    say: Say
    progress: Progress

    async def tell(self) -> None:
        """Play all acts; fills the proof."""
        mark = await self._journal_mark()
        backup = await self._capture()
        await self._drift()
        drifted = await self._state()
        preview = await self._preview(backup)
        execution = await self._restore(preview)
        await self._preview_again(backup)
        await self._take_back(execution, drifted)
        await self._count(mark)

    async def _capture(self) -> Run:
        state = await asyncio.to_thread(self.simulator.admin, "GET", f"/tenants/{self.tenant}/state?form=raw")
        self.proof.policies = sum(map(_is_policy, state))
        self.say(f"\n[bold]1[/] Contoso's tenant holds {self.proof.policies} policies. A capture fills a backup set.")
        started = await self.client.start_bulk(
            self.tenant_id, "backup_set.create", selector={"all": True}, name="Before the change"
        )
        run = await self._good_end(started.run)
        self.proof.backup_items = run.counts.succeeded
        return run

    async def _drift(self) -> None:
        count = self.proof.policies
        order = {"seed": _SEED, "change": count // 4, "delete": count // 4, "add": 3}
        done = await asyncio.to_thread(self.simulator.admin, "POST", f"/tenants/{self.tenant}/drift", order)
        kinds = [one["action"] for one in done]
        self.say(
            f"\n[bold]2[/] Somebody changes {kinds.count('change')} policies, deletes {kinds.count('delete')} and adds "
            f"{kinds.count('add')}. A preview plans the way back."
        )

    async def _preview(self, backup: Run) -> Run:
        mark = await self._journal_mark()
        started = await self.client.start_restore(self.tenant_id, backup_set_id=backup.id)
        run = await self._good_end(started.run)
        plan = await self.client.preview(run)
        writes = writes_of(await self._journal(mark), run.id)
        self.proof.preview = {"writes": writes, **{action: plan.actions.get(action, 0) for action in ACTIONS}}
        counts = ", ".join(f"{plan.actions.get(action, 0)} {action}" for action in ACTIONS)
        self.say(f"  The plan: {counts}. The tenant's journal shows [bold]{writes}[/] writes.")
        return run

    async def _restore(self, preview: Run) -> Run:
        planned = self.proof.preview["create"] + self.proof.preview["update"]
        latency = max(15.0, min(100.0, 1000 * _PACE / max(1, planned)))
        await asyncio.to_thread(self.simulator.admin, "POST", "/weather", {"latency_ms": latency})
        mark = await self._journal_mark()
        self.say(f"\n[bold]3[/] The restore runs the plan: {planned} writes. One of two workers will be killed.")
        started = await self.client.start_restore(self.tenant_id, preview_run_id=preview.id)
        killer = asyncio.create_task(self._kill_the_worker(started.run, mark, planned))
        run = await self._end(started.run)
        killed_at, killed = await killer
        entries = await self._journal(mark)
        heir = next((e for e in entries if _is_heir(e, run, killed, killed_at)), None)
        self.proof.worker_killed = killed is not None
        self.proof.takeover_seconds = round(heir.mono - killed_at, 3) if heir else None
        self.proof.restore = {"status": run.status.value, "counts": run.counts.model_dump()}
        self.proof.writes_per_item_max = most_writes_of_one_call(entries, run.id)
        await asyncio.to_thread(self.simulator.admin, "POST", "/weather", {"latency_ms": 0})
        return run

    async def _kill_the_worker(self, run: Run, mark: int, planned: int) -> tuple[float, str | None]:
        """Kill the process that wrote last, once it did its share; return when, and who it was."""
        enough = max(1, round(planned * _KILL_AFTER))
        while True:
            entries = [e for e in await self._journal(mark) if e.run == str(run.id)]
            written = list(effective_writes(entries))
            if len(written) >= enough and written[-1].worker:
                worker = written[-1].worker
                killed = self.fleet.kill(int(worker.split(":")[2]))
                self.say(f"  {killed.name} (process {killed.pid}) was killed with SIGKILL after {len(written)} writes.")
                return time.monotonic(), worker
            if (await self.client.run(run.tenant_id, run.run_type, run.id)).status.is_terminal:
                return time.monotonic(), None
            await asyncio.sleep(_POLL)

    async def _preview_again(self, backup: Run) -> None:
        self.say("\n[bold]4[/] A second preview looks whether everything is as it was backed up.")
        started = await self.client.start_restore(self.tenant_id, backup_set_id=backup.id)
        plan = await self.client.preview(await self._good_end(started.run))
        self.proof.second_preview = {action: plan.actions.get(action, 0) for action in ACTIONS}

    async def _take_back(self, execution: Run, drifted: object) -> None:
        """Undo the restore: the tenant is to be as it was before, by its own word."""
        preview = await self._good_end((await self.client.undo(self.tenant_id, execution.id)).run)
        plan = await self.client.preview(preview)
        planned = {action: plan.actions.get(action, 0) for action in ("update", "delete")}
        self.say(
            f"\n[bold]5[/] The restore is taken back: {planned['update']} objects become what they were, "
            f"{planned['delete']} that it created are deleted."
        )
        started = await self.client.start_restore(self.tenant_id, preview_run_id=preview.id)
        undone = await self._good_end(started.run)
        as_before = await self._state() == drifted
        self.proof.undo = {"status": undone.status.value, **planned, "as_before": as_before}

    async def _state(self) -> object:
        """How the tenant is configured, as the simulator says it."""
        path = f"/tenants/{self.tenant}/state?form=identified"
        return await asyncio.to_thread(self.simulator.admin, "GET", path)

    async def _count(self, mark: int) -> None:
        self.proof.other_tenants_writes = writes_elsewhere(await self._journal(mark), self.tenant)
        runs = (await self.client.runs(self.tenant_id)).items
        counts = await self._told(len(runs))
        self.proof.notifications = {"runs": len(runs), "total": counts.total, "unread": counts.unread}

    async def _told(self, runs: int) -> NotificationCounts:
        """Wait until each run's end was told, or for as long as a run may take."""
        deadline = time.monotonic() + RUN_TIMEOUT
        counts = (await self.client.notifications()).counts
        while counts.unread < runs and time.monotonic() < deadline:
            await asyncio.sleep(_POLL)
            counts = (await self.client.notifications()).counts
        return counts

    async def _good_end(self, run: Run) -> Run:
        run = await self._end(run)
        if run.status is not RunStatus.SUCCEEDED:
            raise CliFailure(
                f"{run.operation} ended {run.status}",
                exit_code=ExitCode.FAILED,
                code=run.error.code if run.error else "demo.run_failed",
                next_step=f"look into {self.fleet.folder}",
            )
        return run

    async def _end(self, run: Run) -> Run:
        return await self.client.wait(run, self.progress, within=RUN_TIMEOUT)

    async def _journal(self, since: int) -> list[Entry]:
        return await asyncio.to_thread(self.simulator.journal, since)

    async def _journal_mark(self) -> int:
        return await asyncio.to_thread(self.simulator.last_seq)


def _is_heir(entry: Entry, run: Run, killed: str | None, killed_at: float) -> bool:
    return entry.run == str(run.id) and entry.worker != killed and entry.mono >= killed_at


def _is_policy(record: dict[str, Any]) -> bool:
    """Groups and apps are no policies; the scope tag "0" is in every tenant from the start."""
    return not record["collection"].endswith(("groups", "mobileApps")) and record["object"]["id"] != "0"
