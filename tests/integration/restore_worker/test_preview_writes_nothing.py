"""T39: a preview writes nothing, judged by the target's own journal and by the ledger.

The thousand random plans of `tests/failures/test_previews.py` in short, and proof that the judge would notice.
"""

from collections.abc import Iterator
from uuid import UUID

import grimp
import pytest

from services.restore_worker.preview import Readers
from shared.connectors.factory import AllConnectors
from shared.connectors.graph.calls import ReadCalls, WriteCalls
from shared.connectors.port import TenantConnection, TenantReader, TenantWriter
from simulator.process import RunningSimulator, running
from tests.support.engine_lab import Lab
from tests.support.random_previews import (
    SECRET,
    not_reads,
    preview_at_random,
    settings_of,
    tenant_over_graph,
    written_in_the_ledger,
)
from tests.support.restore_lab import a_filter

PLANS = 100
POLICIES = "deviceManagement/configurationPolicies"


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSimulator]:
    with running(tmp_path_factory.mktemp("simulator"), ["--tenants", "1", "--sample"]) as started:
        yield started


@pytest.mark.timeout(400)  # of a machine with better things to do
async def test_a_hundred_random_preview_plans_write_nothing(opened: Lab, simulator: RunningSimulator) -> None:
    done = await preview_at_random(opened, simulator, plans=PLANS, seed=39)

    print(f"T39 {done}")  # noqa: T201  the seed has to be seen where a test fails
    journal = simulator.journal()
    assert len(done.runs) == PLANS
    assert {entry.run for entry in journal if entry.run} == {str(run.id) for run in done.runs}
    assert not_reads(journal, done.directories) == []
    assert await written_in_the_ledger(opened, done.runs) == []
    # They had something to write: otherwise this would say nothing.
    assert min(done.actions[action] for action in ("create", "update", "unchanged")) > 0


@pytest.mark.parametrize("in_a_batch", [False, True], ids=["alone", "in a batch"])
async def test_the_judge_notices_one_write(simulator: RunningSimulator, in_a_batch: bool) -> None:  # noqa: FBT001  parametrised
    """Also one that was refused, and one that hides among reads."""
    directory = simulator.new_tenant()
    before = simulator.last_seq()
    with simulator.graph(directory) as graph:
        graph.get(POLICIES).raise_for_status()
        members = [
            {"id": "1", "method": "GET", "url": f"/{POLICIES}"},
            {"id": "2", "method": "DELETE", "url": f"/{POLICIES}/nobody"},
        ]
        graph.post("$batch", json={"requests": members[:1]}).raise_for_status()
        assert not_reads(simulator.journal(before), [directory]) == []
        if in_a_batch:
            graph.post("$batch", json={"requests": members}).raise_for_status()
        else:
            graph.delete(f"{POLICIES}/nobody")

    found = not_reads(simulator.journal(before), [directory])

    assert [entry.method for entry in found] == (["POST", "DELETE"] if in_a_batch else ["DELETE"])


async def test_the_judge_notices_a_run_that_writes(opened: Lab, simulator: RunningSimulator) -> None:
    """An execution of the very plan, through the same connectors."""
    directory = simulator.new_tenant()
    world = await tenant_over_graph(opened, simulator, directory)
    world.tenant.add("assignmentFilter", a_filter("F"))
    before = simulator.last_seq()
    preview = await world.preview(await world.back_up(world.tenant))
    assert not_reads(simulator.journal(before), [directory]) == []
    assert await written_in_the_ledger(opened, [preview]) == []

    run = await world.execute(preview)

    assert [entry.method for entry in not_reads(simulator.journal(before), [directory])] == ["POST"]
    assert len(await written_in_the_ledger(opened, [run])) == 1


async def test_what_a_preview_opens_can_only_get(simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The port's reader names no write, and the real one is made of calls that can only GET."""
    monkeypatch.setenv(SECRET, simulator.client_secret)
    writes = set(dir(TenantWriter)) - set(dir(TenantReader))
    connection = TenantConnection(UUID(int=0), "graph", simulator.tenants[0], settings_of(simulator))

    async with AllConnectors().reader(connection) as reader:
        made_of = vars(reader)["_calls"]

    assert writes == {"create", "update", "assign", "delete"}
    assert not writes & set(dir(reader))
    assert isinstance(made_of, ReadCalls)
    assert not isinstance(made_of, WriteCalls)
    assert "writer" not in dir(Readers)


def test_nothing_that_a_preview_imports_knows_a_writer() -> None:
    """The contract of the import linter, without its exceptions and for everything that is imported on the way."""
    graph = grimp.build_graph("services", "shared", cache_dir=None)

    known = graph.find_upstream_modules("services.restore_worker.preview")

    assert "shared.connectors.port" in known
    forbidden = {"applying", "execute", "probing"}
    assert not {f"services.restore_worker.{name}" for name in forbidden} & known
    assert not {name for name in known if name.startswith(("shared.connectors.graph", "shared.connectors.factory"))}
