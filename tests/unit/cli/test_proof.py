"""The proof of the demonstration: a sentence fails by itself when its fact is wrong; the journal is counted right."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from cli.demo.proof import TAKEOVER_LIMIT, Proof, most_writes_of_one_call, writes_elsewhere, writes_of
from simulator.journal import GRAPH, TOKEN, Entry

RUN = UUID("0198c0de-0000-7000-8000-0000000000c1")
OTHER_RUN = UUID("0198c0de-0000-7000-8000-0000000000c2")
TENANT = "11111111-0000-4000-8000-000000000000"
POLICIES = "/deviceManagement/configurationPolicies"
ONE, ANOTHER = "5f0c2a3e-52a1-4a55-9d0e-5f7d3d5f9c11", "6a1d3b4f-63b2-4b66-8e1f-607e4e60ad22"
PROOF = Proof(
    source="sample",
    policies=28,
    backup_items=29,
    preview={"writes": 0, "create": 7, "update": 7, "unchanged": 15, "skip": 0, "blocked": 0},
    restore={"status": "succeeded", "counts": {"total": 29, "succeeded": 29}},
    writes_per_item_max=1,
    worker_killed=True,
    takeover_seconds=0.4,
    notifications={"runs": 4, "total": 12, "unread": 4},
    second_preview={"create": 0, "update": 0, "unchanged": 29, "skip": 0, "blocked": 0},
    undo={"status": "succeeded", "update": 7, "delete": 7, "as_before": True},
)
TAKEOVER = f"another took over within {TAKEOVER_LIMIT:.0f} s"
WRONG: list[tuple[str, Mapping[str, Any]]] = [
    ("every policy was captured", {"policies": 30}),
    ("every policy was captured", {"policies": 0}),
    ("the preview wrote nothing", {"preview": {**PROOF.preview, "writes": 1}}),
    ("there was something to restore", {"preview": {**PROOF.preview, "create": 0, "update": 0}}),
    ("the restore succeeded", {"restore": {"status": "partial"}}),
    ("the restore succeeded", {"restore": {}}),
    ("a worker was killed while it restored", {"worker_killed": False}),
    (TAKEOVER, {"takeover_seconds": None}),
    (TAKEOVER, {"takeover_seconds": TAKEOVER_LIMIT}),
    ("no item was written twice", {"writes_per_item_max": 2}),
    ("no item was written twice", {"writes_per_item_max": 0}),
    ("the other tenants were left alone", {"other_tenants_writes": 1}),
    ("each run's end was told once", {"notifications": {"runs": 4, "total": 11, "unread": 3}}),
    ("each run's end was told once", {"notifications": {"runs": 4, "total": 13, "unread": 5}}),
    ("each run's end was told once", {"notifications": {}}),
    ("a second preview finds everything as it was backed up", {"second_preview": {"unchanged": 28, "update": 1}}),
    ("a second preview finds everything as it was backed up", {"second_preview": {"unchanged": 28, "blocked": 1}}),
    ("a second preview finds everything as it was backed up", {"second_preview": {"unchanged": 28}}),
    ("a second preview finds everything as it was backed up", {"second_preview": {}}),
    ("the restore was taken back", {"undo": {**PROOF.undo, "as_before": False}}),
    ("the restore was taken back", {"undo": {}}),
]


def test_a_proof_whose_facts_are_right_has_no_failure_and_says_ok() -> None:
    assert PROOF.failures == []
    assert PROOF.document()["ok"] is True


@pytest.mark.parametrize(("sentence", "facts"), WRONG)
def test_a_wrong_fact_fails_its_own_sentence_and_no_other(sentence: str, facts: Mapping[str, Any]) -> None:
    proof = replace(PROOF, **facts)

    assert proof.failures == [sentence]
    assert (proof.document()["ok"], proof.document()["failures"]) == (False, [sentence])


def test_a_proof_without_any_fact_holds_in_no_sentence_but_that_nobody_wrote_elsewhere() -> None:
    sentences = {sentence for sentence, _ in WRONG}

    assert set(Proof("sample").failures) == sentences - {"the other tenants were left alone"}


def an_entry(**values: Any) -> Entry:
    """An effective write of the run to the first item."""
    fields: dict[str, Any] = {
        "seq": 1,
        "mono": 0.0,
        "wall": "2026-03-02T09:30:00Z",
        "kind": GRAPH,
        "tenant": TENANT,
        "method": "POST",
        "path": POLICIES,
        "status": 201,
        "mutating": True,
        "effective": True,
        "object_id": ONE,
        "run": str(RUN),
        "item": "1",
        "step": "write",
    }
    return Entry(**(fields | values))


CREATED, ASSIGNED = an_entry(), an_entry(step="assign", path=f"{POLICIES}/{ONE}/assign")
NOT_DONE = an_entry(effective=False, status=429)


def test_the_calls_of_one_item_are_counted_apart() -> None:
    assert most_writes_of_one_call([], RUN) == 0
    assert most_writes_of_one_call([CREATED, ASSIGNED, NOT_DONE], RUN) == 1
    assert most_writes_of_one_call([CREATED, an_entry(item="2")], RUN) == 1
    assert most_writes_of_one_call([CREATED, an_entry(run=str(OTHER_RUN))], RUN) == 1


@pytest.mark.parametrize(
    "again",
    [
        an_entry(object_id=ANOTHER),
        an_entry(object_id=ANOTHER, status=None, fault="drop_after"),
        an_entry(path=f"{POLICIES}?$select=id"),
    ],
)
def test_a_create_that_took_effect_twice_counts_two_whatever_id_the_second_one_got(again: Entry) -> None:
    assert most_writes_of_one_call([CREATED, again], RUN) == 2


def test_the_same_follow_up_to_two_objects_of_one_item_counts_two() -> None:
    twin = an_entry(step="assign", path=f"{POLICIES}/{ANOTHER}/assign", object_id=ANOTHER)

    assert most_writes_of_one_call([ASSIGNED, twin], RUN) == 2


def test_a_preview_is_charged_with_every_request_that_may_change_something_also_a_refused_one() -> None:
    read = an_entry(method="GET", mutating=False, effective=False, status=200)
    sign_in = an_entry(kind=TOKEN, effective=False)

    assert writes_of([read, sign_in, an_entry(run=str(OTHER_RUN))], RUN) == 0
    assert writes_of([read, CREATED, NOT_DONE], RUN) == 2


def test_writes_to_other_tenants_and_writes_that_nobody_answers_for_are_elsewhere() -> None:
    assert writes_elsewhere([CREATED, ASSIGNED, NOT_DONE], TENANT) == 0
    assert writes_elsewhere([CREATED, an_entry(tenant="another")], TENANT) == 1
    assert writes_elsewhere([CREATED, an_entry(step=None)], TENANT) == 1
    assert writes_elsewhere([an_entry(tenant="another", run=None)], TENANT) == 1
