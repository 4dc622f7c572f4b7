"""Starts that share a transaction: each gets what it would have had alone, and nobody's trouble is another's."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.dispatcher.handlers import Door, Source, Started
from services.dispatcher.starts import PATIENCE, Starts
from shared.contracts.commands import Selector, Start, StartRestoreRun
from shared.domain.errors import ReinstateError
from shared.domain.operations import Role
from shared.persistence.database import create_engine
from shared.persistence.unit_of_work import SqlUnitOfWork
from tests.support.builders import World, a_preview, a_sync
from tests.support.rabbit import eventually

HTTP = Source(Door.HTTP, requester="Mara")


def by_message(message_id: str) -> Source:
    return Source(Door.COMMANDS, message_id, "ci")


@pytest.fixture
def starts(engine: AsyncEngine) -> Starts:
    return Starts(SqlUnitOfWork(engine, service="test"))


async def at_once(starts: Starts, asked: Sequence[tuple[Start, Source]]) -> list[Any]:
    """Start all of it at the same time behind a lone one, so that it shares a transaction."""
    return await asyncio.gather(*(starts.start(*one) for one in asked), return_exceptions=True)


# --- each gets what it would have had alone --------------------------------------------------------------------------


@dataclass
class Twin:
    """A tenant's rows, under names that its twin shares."""

    world: World
    tenant_id: UUID
    people: dict[str, UUID]
    policies: list[UUID]
    backup_set: UUID
    names: dict[UUID, str] = field(default_factory=dict)

    @classmethod
    async def made(cls, world: World, status: str = "active") -> "Twin":
        tenant_id = await world.add_tenant(status=status)
        people = {role.value: (await world.add_member(tenant_id, role)).id for role in (Role.MANAGER, Role.READONLY)}
        people["stranger"] = (await world.add_person()).id
        set_id, _ = await world.add_backup_set(tenant_id)
        return cls(world, tenant_id, people, await world.add_policies(tenant_id, 2), set_id)

    async def preview(self, *, finished: bool) -> UUID:
        """Make a preview that can, or cannot yet, be executed."""
        options = {"item_ids": tuple(row["id"] for row in await self._items())} if finished else {}
        started = await Starts(SqlUnitOfWork(self.world.engine, service="test")).start(
            a_preview(self.tenant_id, self.backup_set, **options), HTTP
        )
        if finished:
            await self.world.finish_preview(started.run.id)
        return started.run.id

    async def _items(self) -> list[dict[str, Any]]:
        return await self.world.rows("SELECT id FROM backup_items WHERE tenant_id = :t ORDER BY id", t=self.tenant_id)

    async def left(self) -> dict[str, Any]:
        """Everything that starts left behind, with runs by their name; in no order that others could have made."""
        tables = ("bulk_operation_runs", "restore_runs")
        runs = [row for name in tables for row in await self._of(name)]
        audited = await self._of("audit_logs")
        return {
            "runs": Counter((self.name(r["id"]), r["requested_by"], r["status"], r["total_items"]) for r in runs),
            "audited": Counter((a["action"], a["outcome"], self.name(a["target_id"])) for a in audited),
            "inbox": {(i["consumer"], i["message_id"]): self.name(i["run_id"]) for i in await self._of("inbox")},
            "sent": Counter(self._sent(row) for row in await self._of("outbox")),
            "watchers": {(self.name(w["run_id"]), self._who(w["user_id"])) for w in await self._of("run_watchers")},
        }

    def name(self, run_id: UUID) -> str:
        return self.names.get(run_id, "?")

    def _sent(self, row: dict[str, Any]) -> tuple[Any, ...]:
        body = orjson.loads(row["body"])
        kind, number = body.get("kind"), body.get("sequence")
        return row["routing_key"], kind, number, self.name(UUID(body["run_id"])), row["causation_id"]

    def _who(self, user_id: UUID) -> str:
        return next(name for name, one in self.people.items() if one == user_id)

    async def _of(self, table: str) -> list[dict[str, Any]]:
        return await self.world.rows(f"SELECT * FROM {table} WHERE tenant_id = :t", t=self.tenant_id)  # noqa: S608  ours


@dataclass(frozen=True)
class Wish:
    """A start, in words that mean the same in each of two worlds."""

    tenant: str
    what: str
    who: str | None
    request_id: str | None

    def source(self) -> Source:
        return HTTP if self.request_id is None else by_message(self.request_id)

    def command(self, world: dict[str, Twin], previews: dict[str, dict[str, UUID]]) -> Start:
        twin = world.get(self.tenant)
        tenant_id = twin.tenant_id if twin else UUID(int=7)
        person = (twin or world["one"]).people[self.who] if self.who else None
        common: dict[str, Any] = {"initiator_id": person, "requested_by": self.who}
        own = twin or world["one"]
        strange = UUID(int=9)
        preview = previews.get(self.tenant, {}).get(self.what, strange)
        bulk: dict[str, dict[str, Any]] = {
            "sync": {},
            "export": {"action": "export", "item_ids": tuple(own.policies)},
            "export by rule": {"action": "export", "selector": Selector(all=True)},
            "export nothing": {"action": "export", "selector": Selector(policy_types=("windowsUpdateForBusiness",))},
            "export strange": {"action": "export", "item_ids": (own.policies[0], strange)},
            "capture": {"action": "capture_snapshot", "target_id": own.policies[0]},
            "capture strange": {"action": "capture_snapshot", "target_id": strange},
        }
        if self.what in bulk:
            return a_sync(tenant_id, **bulk[self.what], **common)
        if self.what.startswith("preview"):
            return a_preview(tenant_id, own.backup_set if self.what == "preview" else strange, **common)
        return StartRestoreRun(tenant_id=tenant_id, is_dry_run=False, preview_run_id=preview, **common)


THINGS = (
    *("sync", "export", "export by rule", "export nothing", "export strange", "capture", "capture strange"),
    *("preview", "preview strange", "execute", "execute early", "execute strange"),
)
WISHES = st.lists(
    st.builds(
        Wish,
        tenant=st.sampled_from(["one", "one", "other", "suspended", "unknown"]),
        what=st.sampled_from(THINGS),
        who=st.sampled_from([None, "manager", "manager", "readonly", "stranger"]),
        request_id=st.sampled_from([None, None, "k1", "k2"]),
    ),
    min_size=2,
    max_size=25,
)


async def a_world(world: World) -> tuple[dict[str, Twin], dict[str, dict[str, UUID]]]:
    twins = {name: await Twin.made(world) for name in ("one", "other")}
    twins["suspended"] = await Twin.made(world, status="suspended")
    previews: dict[str, dict[str, UUID]] = {}
    for name in ("one", "other"):
        ready, early = await twins[name].preview(finished=True), await twins[name].preview(finished=False)
        previews[name] = {"execute": ready, "execute early": early}
        twins[name].names |= {ready: "ready", early: "early"}
    return twins, previews


def told(outcome: Any, name: str) -> tuple[Any, ...]:
    """What a caller learns."""
    if isinstance(outcome, ReinstateError):
        return ("refused", outcome.code, outcome.context)
    assert isinstance(outcome, Started), outcome
    return (name, outcome.created, outcome.replayed, outcome.run.status, outcome.run.counts.total)


def in_turn(wishes: Sequence[Wish], outcomes: Sequence[Any]) -> list[int]:
    """Find the order that what happened at once amounts to: copies of a request in theirs, a run before its joiners."""
    made: set[UUID] = {one.run.id for one in outcomes if isinstance(one, Started) and one.created}
    left, order = list(range(len(wishes))), []
    while left:
        for place in left:
            wish, outcome = wishes[place], outcomes[place]
            before = [one for one in left[: left.index(place)] if wishes[one].request_id]
            if wish.request_id and any(
                (wishes[one].tenant, wishes[one].request_id) == (wish.tenant, wish.request_id) for one in before
            ):
                continue
            if isinstance(outcome, Started) and not outcome.created and outcome.run.id in made:
                continue
            if isinstance(outcome, Started):
                made.discard(outcome.run.id)
            order.append(place)
            left.remove(place)
            break
        else:
            raise AssertionError("no order of one after another gives what they were told")
    return order


@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(wishes=WISHES)
async def test_whatever_comes_together_each_start_gets_what_it_would_have_had_alone(
    world: World, engine: AsyncEngine, wishes: list[Wish]
) -> None:
    uow = SqlUnitOfWork(engine, service="test")
    (here, previews), (there, others) = await a_world(world), await a_world(world)
    starts = Starts(uow)
    works = [starts.start(wish.command(here, previews), wish.source()) for wish in wishes]
    lone = asyncio.create_task(starts.start(a_sync((await Twin.made(world)).tenant_id), HTTP))
    outcomes = await asyncio.gather(*works, return_exceptions=True)
    await lone
    order = in_turn(wishes, outcomes)
    alone = dict.fromkeys(order)
    for place in order:
        wish = wishes[place]
        [alone[place]] = await asyncio.gather(
            Starts(uow).start(wish.command(there, others), wish.source()), return_exceptions=True
        )
    for place in order:
        for twins, outcome in ((here, outcomes[place]), (there, alone[place])):
            if isinstance(outcome, Started):
                twins[wishes[place].tenant].names.setdefault(outcome.run.id, f"run {place}")

    def all_told(twins: dict[str, Twin], found: Any) -> list[Any]:
        return [
            told(
                found[place], twins[wish.tenant].name(found[place].run.id) if isinstance(found[place], Started) else ""
            )
            for place, wish in enumerate(wishes)
        ]

    assert all_told(here, outcomes) == all_told(there, alone)
    for name, twin in here.items():
        assert await twin.left() == await there[name].left(), name


async def test_what_shares_a_transaction_is_audited_in_the_order_of_its_ids(world: World, starts: Starts) -> None:
    tenant_id = await world.add_tenant()
    policies = await world.add_policies(tenant_id, 30)
    asked = [(a_sync(tenant_id, action="capture_snapshot", target_id=one), HTTP) for one in policies]

    await at_once(starts, asked)

    rows = await world.rows("SELECT id, created_at, target_id FROM audit_logs ORDER BY id")
    assert len({row["target_id"] for row in rows}) == len(rows) == len(policies)
    assert [row["created_at"] for row in rows] == sorted(row["created_at"] for row in rows)


async def test_fifty_copies_of_one_request_at_once_are_one_run_and_one_line_of_audit(
    world: World, starts: Starts
) -> None:
    tenant_id = await world.add_tenant()

    outcomes = await at_once(starts, [(a_sync(tenant_id), by_message("m-1"))] * 50)

    assert len({one.run.id for one in outcomes}) == 1
    assert Counter((one.created, one.replayed) for one in outcomes) == {(True, False): 1, (False, True): 49}
    assert len(await world.rows("SELECT id FROM audit_logs")) == 1


# --- nobody's trouble is another's -----------------------------------------------------------------------------------

_TROUBLE = """
    CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.requested_by = 'trouble' THEN RAISE EXCEPTION 'a defect' USING ERRCODE = 'check_violation'; END IF;
        RETURN NEW;
    END $$
"""
_ONCE = """
    CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('passages') = 5 THEN RAISE EXCEPTION 'once' USING ERRCODE = 'serialization_failure'; END IF;
        RETURN NEW;
    END $$
"""
_TRIGGER = "CREATE TRIGGER trouble BEFORE INSERT ON bulk_operation_runs FOR EACH ROW EXECUTE FUNCTION trouble()"


async def test_a_start_that_breaks_its_transaction_breaks_nobody_elses(world: World, starts: Starts) -> None:
    tenants = [await world.add_tenant() for _ in range(10)]
    for statement in (_TROUBLE, _TRIGGER):
        await world.change(statement)
    asked = [(a_sync(one, requested_by="trouble" if one == tenants[4] else "Mara"), HTTP) for one in tenants]

    outcomes = await at_once(starts, asked)

    broken = outcomes.pop(4)
    assert isinstance(broken, DBAPIError)
    assert all(one.created for one in outcomes)
    assert {row["tenant_id"] for row in await world.rows("SELECT tenant_id FROM bulk_operation_runs")} == {
        one for place, one in enumerate(tenants) if place != 4
    }


async def test_what_is_rolled_back_for_all_is_done_by_each_itself_once(world: World, starts: Starts) -> None:
    tenants = [await world.add_tenant() for _ in range(10)]
    for statement in ("CREATE SEQUENCE passages", _ONCE, _TRIGGER):
        await world.change(statement)

    outcomes = await at_once(starts, [(a_sync(one), by_message(f"m-{one}")) for one in tenants])

    assert all(one.created for one in outcomes), outcomes
    assert await world.totals() == {
        "restore_runs": 0, "bulk_operation_runs": 10, "outbox": 20, "inbox": 10, "run_watchers": 0
    }  # fmt: skip
    assert len(await world.rows("SELECT id FROM audit_logs")) == 10


_WAITING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.mark.parametrize("company", [0, 8])
async def test_a_start_that_waits_for_somebody_elses_lock_keeps_nobody_waiting(
    world: World, engine: AsyncEngine, starts: Starts, company: int
) -> None:
    """A process that was frozen between its first statement and its commit holds what it took."""
    tenant_id = await world.add_tenant()
    others = [await world.add_tenant() for _ in range(company + 1)]
    frozen = SqlUnitOfWork(engine, service="test")
    async with frozen.begin(tenant_id) as tx:
        await tx.inbox.take(Door.COMMANDS.value, "m-1", "hash")
        stuck = asyncio.create_task(starts.start(a_sync(tenant_id), by_message("m-1")))
        if not company:  # it was there first, alone

            async def waits() -> bool:
                return bool(await world.rows(_WAITING))

            await eventually(waits)
        together = asyncio.gather(*(starts.start(a_sync(one), HTTP) for one in others[:-1]))
        async with asyncio.timeout(20 * PATIENCE):
            assert all(one.created for one in await together)
            assert (await starts.start(a_sync(others[-1]), HTTP)).created
        assert not stuck.done()
        await tx.inbox.forget()

    assert (await stuck).created


async def test_whatever_order_they_come_in_keys_are_taken_in_one_order(world: World, starts: Starts) -> None:
    """Otherwise two dispatchers that take the same starts could each wait for what the other one holds."""
    tenants = [await world.add_tenant() for _ in range(3)]
    names = [f"m-{number:02}" for number in random.Random(23).sample(range(30), 30)]  # noqa: S311  an order
    policies = {one: await world.add_policies(one, 30) for one in tenants}
    asked = [
        (a_sync(one, action="capture_snapshot", target_id=policies[one][place]), by_message(name))
        for place, name in enumerate(names)
        for one in reversed(tenants)
    ]

    await at_once(Starts(starts._uow, at_once=len(asked)), asked)

    taken = "SELECT processed_at AS at FROM inbox ORDER BY tenant_id, message_id"
    made = "SELECT created_at AS at FROM bulk_operation_runs ORDER BY tenant_id, idempotency_key"
    for query in (taken, made):
        times = [row["at"] for row in await world.rows(query)]
        assert len(times) == len(asked)
        assert times == sorted(times)


async def test_three_dispatchers_that_take_the_same_starts_in_other_orders_make_one_run_of_each(
    world: World, database_url: str
) -> None:
    tenants = [await world.add_tenant() for _ in range(20)]
    policies = [(one, policy) for one in tenants for policy in await world.add_policies(one, 3)]
    wanted = [
        (a_sync(one, action="capture_snapshot", target_id=policy), by_message(str(policy))) for one, policy in policies
    ]
    async with AsyncExitStack() as cleanup:
        dispatchers = []
        for _ in range(3):
            engine = create_engine(database_url, service="test", pool_size=4)
            cleanup.push_async_callback(engine.dispose)
            dispatchers.append(Starts(SqlUnitOfWork(engine, service="test")))
        orders = (wanted, wanted[::-1], wanted[30:] + wanted[:30])
        outcomes = await asyncio.gather(*(at_once(*one) for one in zip(dispatchers, orders, strict=True)))

    told_of = [one for of_one in outcomes for one in of_one]
    assert all(isinstance(one, Started) for one in told_of), told_of
    assert sum(one.created for one in told_of) == len({one.run.id for one in told_of}) == len(wanted)
    assert len(await world.rows("SELECT id FROM audit_logs")) == len(wanted)


async def test_a_caller_that_leaves_takes_nobody_with_it(world: World, starts: Starts) -> None:
    tenants = [await world.add_tenant() for _ in range(5)]
    tasks = [asyncio.create_task(starts.start(a_sync(one), HTTP)) for one in tenants]
    await asyncio.sleep(0)
    tasks[2].cancel()

    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(outcomes.pop(2), asyncio.CancelledError)
    assert all(one.created for one in outcomes)
