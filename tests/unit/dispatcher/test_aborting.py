from dataclasses import replace
from uuid import uuid4

import pytest

from services.dispatcher.handlers import Door, Source, abort_run
from services.dispatcher.starts import Starts
from shared.contracts.commands import AbortRun
from shared.contracts.events import EventKind
from shared.domain.errors import NotFoundError, PermanentError, SafeCode
from shared.domain.operations import Role
from shared.domain.runs import RunStatus
from shared.ports import RunRecord
from tests.support.builders import a_sync
from tests.support.fakes import FakeUnitOfWork, Sent

SOURCE = Source(Door.HTTP, requester="Mara")


async def a_run(uow: FakeUnitOfWork) -> RunRecord:
    run = (await Starts(uow).start(a_sync(uow.add_tenant()), SOURCE)).run
    uow.stored.sent.clear()
    return run


def abort_of(run: RunRecord, **changes: object) -> AbortRun:
    fields = {"tenant_id": run.tenant_id, "run_type": run.run_type, "run_id": run.id}
    return AbortRun(**(fields | changes))


async def test_a_queued_run_ends_at_once_and_says_so() -> None:
    uow = FakeUnitOfWork()
    run = await a_run(uow)

    aborted = await abort_run(abort_of(run), source=SOURCE, uow=uow)

    assert (aborted.run.status, aborted.run.error_code) == (RunStatus.ABORTED, SafeCode.RUN_ABORTED)
    assert uow.stored.sent == [Sent(run.id, EventKind.STATUS, RunStatus.ABORTED, 2)]


async def test_a_running_run_gets_the_flag_and_a_wake_up_and_goes_on_until_its_worker_looks() -> None:
    uow = FakeUnitOfWork()
    run = await a_run(uow)
    uow.stored.runs[run.id] = replace(run, status=RunStatus.RUNNING)

    aborted = await abort_run(abort_of(run), source=SOURCE, uow=uow)

    assert aborted.run.status is RunStatus.RUNNING
    assert aborted.run.abort_requested_at is not None
    assert uow.stored.sent == [Sent(run.id, None, RunStatus.RUNNING, 1)]


async def test_a_run_that_is_over_stays_as_it_is() -> None:
    uow = FakeUnitOfWork()
    run = await a_run(uow)
    uow.finish(run)

    aborted = await abort_run(abort_of(run), source=SOURCE, uow=uow)

    assert (aborted.was_active, aborted.run.status, uow.stored.sent) == (False, RunStatus.SUCCEEDED, [])


async def test_another_tenant_finds_no_run_to_abort_and_a_reader_may_not() -> None:
    uow = FakeUnitOfWork()
    run = await a_run(uow)
    reader = uow.add_member(run.tenant_id, Role.READONLY)

    with pytest.raises(NotFoundError):
        await abort_run(abort_of(run, tenant_id=uow.add_tenant()), source=SOURCE, uow=uow)
    with pytest.raises(NotFoundError):
        await abort_run(abort_of(run, run_id=uuid4()), source=SOURCE, uow=uow)
    with pytest.raises(PermanentError, match=r"authz\.missing_capability"):
        await abort_run(abort_of(run, initiator_id=reader), source=SOURCE, uow=uow)
    assert uow.stored.runs[run.id].abort_requested_at is None
