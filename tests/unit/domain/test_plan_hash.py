import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.connectors.planner_version import planner_version, version_of
from shared.connectors.policy_types import all_types
from shared.domain.plan_hash import PlanBasis, PlanSeal
from shared.domain.restore_options import Match, RestoreOptions, chosen

ROOT = Path(__file__).parents[3]
REASONABLE = settings(deadline=None, max_examples=150)
IDS = st.sampled_from([UUID(int=n) for n in range(3)])
BASES = st.builds(
    PlanBasis,
    backup_set_id=st.none() | IDS,
    planner=st.sampled_from(["1-a", "1-b", "2-a"]),
    item_ids=st.none() | st.frozensets(IDS).map(tuple),
    selector=st.none() | st.fixed_dictionaries({"policy_types": st.lists(st.sampled_from("ab"), max_size=2)}),
    options=st.builds(chosen, st.sampled_from(Match)) | st.builds(lambda item: chosen(targets={item: "x"}), IDS),
)
ENTRIES = st.lists(st.tuples(IDS, st.lists(st.none() | st.sampled_from(["", "a", "b\n", '"']), max_size=3)), max_size=3)


def hash_of(basis: PlanBasis, entries: Sequence[tuple[UUID, Sequence[str | None]]] = ()) -> str:
    seal = PlanSeal(basis)
    for item_id, fields in entries:
        seal.add(item_id, fields)
    return seal.hexdigest()


@REASONABLE
@given(one=BASES, other=BASES, entries=ENTRIES)
def test_the_hash_differs_exactly_where_the_basis_does(one: PlanBasis, other: PlanBasis, entries: Any) -> None:
    def meaning(basis: PlanBasis) -> PlanBasis:
        return replace(basis, item_ids=None if basis.item_ids is None else frozenset(basis.item_ids))  # type: ignore[arg-type]

    assert (hash_of(one, entries) == hash_of(other, entries)) == (meaning(one) == meaning(other))


@REASONABLE
@given(basis=BASES, one=ENTRIES, other=ENTRIES)
def test_the_hash_differs_exactly_where_an_entry_does(basis: PlanBasis, one: Any, other: Any) -> None:
    assert (hash_of(basis, one) == hash_of(basis, other)) == (one == other)


def test_the_order_of_a_selection_is_no_difference() -> None:
    a, b = UUID(int=1), UUID(int=2)
    basis = PlanBasis(UUID(int=9), "1-a", (a, b))
    assert hash_of(basis) == hash_of(replace(basis, item_ids=(b, a))) != hash_of(replace(basis, item_ids=(a,)))


def test_the_hash_of_a_plan_is_what_it_was_when_this_was_written() -> None:
    """Another value would invalidate every preview that is stored."""
    basis = PlanBasis(UUID(int=9), "1-a", None, {"all": True}, RestoreOptions(Match.CREATE_ONLY))
    expected = "bba9629466a1dad81fcdc9f288b058ff869218aea8fb21356ee95821d47113c0"
    assert hash_of(basis, [(UUID(int=1), ["update", None])]) == expected


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_the_planners_version_is_the_same_in_every_process(seed: str) -> None:
    program = "from shared.connectors.planner_version import planner_version; print(planner_version())"
    told = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
    )
    assert told.stdout.strip() == planner_version()


def test_a_declaration_that_means_something_else_is_another_version_and_another_label_is_not() -> None:
    first, *rest = all_types()
    known = version_of(all_types())
    assert version_of([replace(first, label="Another word"), *rest]) == known
    assert version_of([replace(first, server_keys=(*first.server_keys, "another")), *rest]) != known
    assert version_of(all_types(), 2) != known
