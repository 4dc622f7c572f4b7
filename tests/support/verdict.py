"""The judgement after a fault: the callers' journal, the target's journal and the database against each other."""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.journal import Entry, effective_writes, mutations, untagged_writes
from tests.support import invariants
from tests.support.builders import World
from tests.support.load import Journal, bad_ends

if TYPE_CHECKING:
    from uuid import UUID

FENCED = ("lease.lost", "message.lease_lost")  # events of the services' logs

# The history of every lease, kept by the test's own database: who held which run until when.
LEASE_HISTORY = """
CREATE TABLE IF NOT EXISTS test_leases (
    n bigint GENERATED ALWAYS AS IDENTITY, run_id uuid, epoch bigint, owner text, wake_up uuid,
    until timestamptz, at timestamptz DEFAULT clock_timestamp()
);
CREATE OR REPLACE FUNCTION test_note_lease() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    INSERT INTO test_leases (run_id, epoch, owner, wake_up, until)
    VALUES (NEW.id, NEW.lease_epoch, NEW.lease_owner, NEW.lease_wake_up, NEW.lease_until);
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER test_note_lease AFTER UPDATE ON restore_runs FOR EACH ROW
    WHEN ((OLD.lease_epoch, OLD.lease_owner, OLD.lease_until)
        IS DISTINCT FROM (NEW.lease_epoch, NEW.lease_owner, NEW.lease_until))
    EXECUTE FUNCTION test_note_lease();
CREATE OR REPLACE TRIGGER test_note_lease AFTER UPDATE ON bulk_operation_runs FOR EACH ROW
    WHEN ((OLD.lease_epoch, OLD.lease_owner, OLD.lease_until)
        IS DISTINCT FROM (NEW.lease_epoch, NEW.lease_owner, NEW.lease_until))
    EXECUTE FUNCTION test_note_lease();
"""


@dataclass
class Report:
    """The counters of one case. `findings` says what must not be."""

    attempted: int = 0  # starts that were sent
    acknowledged: int = 0  # starts that were answered with 201 or 200
    ok: int = 0  # acknowledged ones whose run is there, once, and came to its end
    lost: int = 0  # acknowledged ones without a run, or whose run never ended
    duplicated: int = 0  # calls that took effect more than once, people told twice, starts that became two runs
    suppressed: int = 0  # starts that joined a run that was there
    fenced: int = 0  # times that a worker found its lease to be another's
    unexpected: int = 0  # everything else that must not be
    recovered: int = 0  # runs that several workers worked on
    findings: list[str] = field(default_factory=list)

    def add(self, other: "Report") -> None:
        """Sum up."""
        for name, value in asdict(other).items():
            if isinstance(value, int):
                setattr(self, name, getattr(self, name) + value)

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in asdict(self).items() if isinstance(value, int))

    def must_be_good(self) -> None:
        """Fail unless nothing was lost, doubled or otherwise wrong."""
        assert self.is_good, "\n".join([str(self), *self.findings])

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost, doubled or otherwise wrong."""
        return (self.lost, self.duplicated, self.unexpected) == (0, 0, 0)


async def judge(journal: Journal, world: World, entries: list[Entry], *, may_end_badly: bool = False) -> Report:
    """Compare everything once nothing moves any more; `entries` is the target's journal."""
    report = Report(journal.attempted, len(journal.promises))
    await _i1_every_promise_is_one_run(journal, world, report)
    _i2_nothing_is_done_twice(entries, report)
    await _i3_the_ledger_tells_the_truth(world, entries, report)
    await _i4_one_owner_at_a_time(world, entries, report)
    await _i7_nothing_is_half_done(world, report)
    await _i8_previews_wrote_nothing(world, entries, report)
    await _i10_every_start_is_audited(journal, world, report)
    told = Counter(await invariants.told(world))
    _note(report, "duplicated", [f"told {count} times: {who}" for who, count in told.items() if count > 1])
    _note(report, "unexpected", [f"not told: {who}" for who in await invariants.owed(world) - told.keys()])
    if not may_end_badly:
        _note(report, "unexpected", bad_ends(journal))
    report.suppressed += sum(not promise.created for promise in journal.promises)
    return report


def fenced_so_far(logs: Path) -> int:
    """Count how often a worker found its lease to be another's."""
    text = "".join(log.read_text(encoding="utf-8", errors="replace") for log in logs.rglob("*.log"))
    return sum(text.count(f'"{event}"') for event in FENCED)


async def _i1_every_promise_is_one_run(journal: Journal, world: World, report: Report) -> None:
    rows: dict[UUID, dict[str, Any]] = {}
    for table in invariants.RUN_TABLES.values():
        for row in await world.rows(f"SELECT id, tenant_id, operation, status FROM {table}"):  # noqa: S608  our own names
            rows[row["id"]] = row
    over = invariants.TERMINAL
    for promise in journal.promises:
        row = rows.get(promise.run)
        if row is None or (row["tenant_id"], row["operation"]) != (promise.tenant_id, promise.operation):
            _note(report, "lost", [f"promised and not there: {promise}"])
        elif f"'{row['status']}'" not in over:
            _note(report, "lost", [f"promised and {row['status']} for ever: {promise}"])
        else:
            report.ok += 1
    created = Counter(promise.run for promise in journal.promises if promise.created)
    _note(
        report,
        "duplicated",
        [f"said to be created {count} times: {run}" for run, count in created.items() if count > 1],
    )


def _i2_nothing_is_done_twice(entries: list[Entry], report: Report) -> None:
    calls = Counter((entry.run, entry.item, entry.step, *entry.call) for entry in effective_writes(entries))
    _note(report, "duplicated", [f"took effect {count} times: {call}" for call, count in calls.items() if count > 1])
    _note(report, "unexpected", [f"a write without a name: {entry}" for entry in untagged_writes(entries)])
    workers: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        if entry.run and entry.worker:
            workers[entry.run].add(entry.worker)
    report.recovered += sum(len(those) > 1 for those in workers.values())


async def _i3_the_ledger_tells_the_truth(world: World, entries: list[Entry], report: Report) -> None:
    rows = await world.rows(
        "SELECT run_id::text AS run, item_id::text AS item, outcome, request_hash, intent_epoch FROM restore_run_items"
        " WHERE run_id IN (SELECT id FROM restore_runs WHERE writes)"
    )
    ledger = {(row["run"], row["item"]): row for row in rows}
    written = set()
    for entry in effective_writes(entries):
        place = (str(entry.run), str(entry.item))
        row = ledger.get(place)
        written.add(place)
        if row is None or row["request_hash"] is None or (entry.epoch or 0) > row["intent_epoch"]:
            _note(report, "unexpected", [f"a write without an intent: {entry}"])
    applied = {place for place, row in ledger.items() if row["outcome"] in ("applied_created", "applied_updated")}
    _note(report, "unexpected", [f"said to be applied and never written: {place}" for place in applied - written])


async def _i4_one_owner_at_a_time(world: World, entries: Iterable[Entry], report: Report) -> None:
    last: dict[UUID, dict[str, Any]] = {}
    for row in await world.rows("SELECT * FROM test_leases ORDER BY n"):
        before = last.get(row["run_id"])
        if before and row["owner"] and row["epoch"] != before["epoch"]:  # an end raises the epoch too, and owns nothing
            is_free = before["until"] is None or before["until"] <= row["at"] or before["wake_up"] == row["wake_up"]
            if row["epoch"] != before["epoch"] + 1 or not is_free:
                _note(report, "unexpected", [f"two owners: {before} and {row}"])
        last[row["run_id"]] = row
    latest: dict[str, int] = {}
    for entry in mutations(entries):
        if entry.effective and entry.run and entry.epoch is not None:
            if entry.epoch < latest.get(entry.run, 0):
                _note(report, "unexpected", [f"a write of an epoch that was over: {entry}"])
            latest[entry.run] = max(entry.epoch, latest.get(entry.run, 0))


async def _i7_nothing_is_half_done(world: World, report: Report) -> None:
    _note(report, "unexpected", [f"wrong counters: {row}" for row in await invariants.wrong_counters(world)])
    _note(report, "unexpected", [f"half done: {row}" for row in await invariants.half_done(world)])


async def _i8_previews_wrote_nothing(world: World, entries: Iterable[Entry], report: Report) -> None:
    dry = {str(row["id"]) for row in await world.rows("SELECT id FROM restore_runs WHERE is_dry_run")}
    _note(report, "unexpected", [f"a preview wrote: {entry}" for entry in mutations(entries) if entry.run in dry])


async def _i10_every_start_is_audited(journal: Journal, world: World, report: Report) -> None:
    rows = await world.rows("SELECT target_id, action FROM audit_logs WHERE target_id IS NOT NULL")
    actions: dict[UUID, Counter[str]] = defaultdict(Counter)
    for row in rows:
        actions[row["target_id"]][row["action"]] += 1
    for run in {promise.run for promise in journal.promises}:
        words = Counter(started=0, ended=0)
        for action, count in actions[run].items():
            word = action.rpartition(".")[2]
            words["ended" if word in _ENDS else word] += count
        starts, ends = words["started"], words["ended"]
        if (starts, ends) != (1, 1):
            _note(report, "unexpected", [f"audited otherwise than once started, once ended: {run} {actions[run]}"])


_ENDS = ("succeeded", "partial", "failed", "aborted", "ended")


async def until_nothing_moves(world: World, patience: float, eventually: Callable[..., Awaitable[None]]) -> None:
    """Wait until every run is over, everything is published and everybody was told."""

    async def is_still() -> bool:
        for table in invariants.RUN_TABLES.values():
            if await world.rows(f"SELECT 1 FROM {table} WHERE status NOT IN {invariants.TERMINAL} LIMIT 1"):  # noqa: S608  our own names
                return False
        if await world.rows("SELECT 1 FROM outbox LIMIT 1"):
            return False
        return set(await invariants.told(world)) >= await invariants.owed(world)

    await eventually(is_still, patience)


def _note(report: Report, counter: str, findings: list[str]) -> None:
    setattr(report, counter, getattr(report, counter) + len(findings))
    report.findings += [f"{counter}: {finding}" for finding in findings[:10]]
