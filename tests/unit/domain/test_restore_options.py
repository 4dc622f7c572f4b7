from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.errors import PermanentError, SafeCode
from shared.domain.plans import Capture, Decision, LiveMatch, PlanAction, Step, decide
from shared.domain.restore_options import (
    DEFAULT_SUFFIX,
    MAX_TARGETS,
    Assignments,
    Match,
    RestoreOptions,
    chosen,
)

REASONABLE = settings(deadline=None, max_examples=150)
A, B = UUID(int=1), UUID(int=2)
PRINTS = st.sampled_from(["a", "b", "c"])
MATCHES = st.builds(
    LiveMatch, remote_id=st.uuids().map(str), fingerprint=PRINTS, same_id=st.booleans(), assignments=st.none() | PRINTS
)
FACTS = st.fixed_dictionaries(
    {
        "backup_fingerprint": PRINTS,
        "matches": st.lists(MATCHES, max_size=3),
        "may_write": st.booleans(),
        "assignments": st.none() | PRINTS,
        "assigns_on_create": st.booleans(),
        "captured": st.none() | st.builds(Capture, PRINTS, st.none() | PRINTS),
    }
)
OPTIONS = st.builds(
    RestoreOptions,
    match=st.sampled_from(Match),
    assignments=st.sampled_from(Assignments),
    copy_suffix=st.text(min_size=1, max_size=5),
    targets=st.dictionaries(st.uuids(), st.text(min_size=1, max_size=5), max_size=3),
)


def decided(facts: dict[str, Any], match: Match, assignments: Assignments = Assignments.WITH) -> Decision:
    return decide(**facts, options=RestoreOptions(match, assignments))


def test_two_items_never_get_one_target_however_its_id_is_spelt() -> None:
    with pytest.raises(PermanentError) as refused:
        chosen(targets={A: "0a1b", B: "0A1B"})
    assert refused.value.context == {"field": "options.targets"}


@REASONABLE
@given(facts=FACTS, assignments=st.sampled_from(Assignments))
def test_create_only_never_updates(facts: dict[str, Any], assignments: Assignments) -> None:
    assert decided(facts, Match.CREATE_ONLY, assignments).action is not PlanAction.UPDATE


@REASONABLE
@given(facts=FACTS)
def test_create_only_creates_what_overwrite_creates_and_names_what_it_leaves_alone(facts: dict[str, Any]) -> None:
    careful, plain = decided(facts, Match.CREATE_ONLY), decided(facts, Match.OVERWRITE)
    if plain.action is PlanAction.UPDATE:
        assert (careful.action, careful.code) == (PlanAction.SKIP, SafeCode.RESTORE_EXISTS_ALREADY)
        assert careful.target_id == plain.target_id
    else:
        assert careful == plain


@REASONABLE
@given(facts=FACTS, match=st.sampled_from(Match))
def test_without_never_assigns(facts: dict[str, Any], match: Match) -> None:
    assert Step.ASSIGN not in decided(facts, match, Assignments.WITHOUT).steps


@REASONABLE
@given(facts=FACTS, match=st.sampled_from(Match))
def test_only_never_writes_an_object_and_never_creates_one(facts: dict[str, Any], match: Match) -> None:
    decision = decided(facts, match, Assignments.ONLY)
    assert decision.action is not PlanAction.CREATE
    assert Step.WRITE not in decision.steps


@REASONABLE
@given(facts=FACTS, assignments=st.sampled_from([Assignments.WITH, Assignments.WITHOUT]))
def test_a_copy_creates_or_says_that_its_name_is_taken_and_touches_nothing_that_is_there(
    facts: dict[str, Any], assignments: Assignments
) -> None:
    decision = decided(facts, Match.COPY, assignments)
    assert decision.target_id is None
    if facts["matches"]:
        assert (decision.action, decision.code) == (PlanAction.BLOCKED, SafeCode.RESTORE_NAME_TAKEN)
    else:
        assert decision.action is (PlanAction.CREATE if facts["may_write"] else PlanAction.SKIP)


@REASONABLE
@given(facts=FACTS)
def test_what_was_not_captured_is_never_overwritten(facts: dict[str, Any]) -> None:
    decision = decided(facts, Match.UPDATE_IF_UNCHANGED)
    if decision.action is PlanAction.UPDATE:
        live = next(one for one in facts["matches"] if one.remote_id == decision.target_id)
        kept = facts["captured"]
        assert kept is not None
        assert Step.WRITE not in decision.steps or live.fingerprint == kept.fingerprint
        assert Step.ASSIGN not in decision.steps or live.assignments == kept.assignments


@REASONABLE
@given(facts=FACTS)
def test_what_was_captured_as_it_is_is_updated_as_by_overwrite(facts: dict[str, Any]) -> None:
    plain = decided(facts, Match.OVERWRITE)
    kept = next((one for one in facts["matches"] if one.remote_id == plain.target_id), None)
    captured = Capture(kept.fingerprint, kept.assignments) if kept else facts["captured"]

    assert decided({**facts, "captured": captured}, Match.UPDATE_IF_UNCHANGED) == plain


@REASONABLE
@given(options=OPTIONS)
def test_choices_are_read_back_as_they_were_stored(options: RestoreOptions) -> None:
    suffix = options.copy_suffix if options.match is Match.COPY else DEFAULT_SUFFIX
    assert RestoreOptions.of_json(options.as_json()) == replace(options, copy_suffix=suffix)


def test_nothing_stored_means_the_defaults() -> None:
    assert RestoreOptions.of_json(None) == RestoreOptions() == chosen()


def test_a_copy_is_made_without_assignments_unless_they_are_asked_for() -> None:
    assert chosen(Match.COPY).assignments is Assignments.WITHOUT
    assert chosen(Match.COPY, Assignments.WITH).assignments is Assignments.WITH
    assert chosen(Match.COPY).copy_suffix == DEFAULT_SUFFIX


def test_foundations_are_never_copied_and_only_looked_up_where_only_assignments_are_restored() -> None:
    assert chosen(Match.COPY).for_foundations().match is Match.CREATE_ONLY
    assert chosen(assignments=Assignments.ONLY).for_foundations().match is Match.CREATE_ONLY
    assert chosen(Match.UPDATE_IF_UNCHANGED).for_foundations().match is Match.UPDATE_IF_UNCHANGED


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"copy_suffix": " (x)"}, "copy_suffix"),
        ({"match": Match.COPY, "copy_suffix": ""}, "copy_suffix"),
        ({"match": Match.COPY, "copy_suffix": "   "}, "copy_suffix"),
        ({"match": Match.COPY, "copy_suffix": " x "}, "copy_suffix"),
        ({"match": Match.COPY, "copy_suffix": "a\nb"}, "copy_suffix"),
        ({"match": Match.COPY, "copy_suffix": "x" * 65}, "copy_suffix"),
        ({"match": Match.COPY, "assignments": Assignments.ONLY}, "assignments"),
        ({"match": Match.CREATE_ONLY, "assignments": Assignments.ONLY}, "assignments"),
        ({"match": Match.COPY, "targets": {A: "x"}}, "targets"),
        ({"targets": {A: "x", B: "x"}}, "targets"),
        ({"targets": {A: ""}}, "targets"),
        ({"targets": {A: ".."}}, "targets"),
        ({"targets": {A: "a\x00"}}, "targets"),
        ({"targets": {A: "x" * 257}}, "targets"),
        ({"targets": {UUID(int=n): str(n) for n in range(MAX_TARGETS + 1)}}, "targets"),
    ],
)
def test_choices_that_make_no_sense_are_refused_by_name(asked: dict[str, Any], field: str) -> None:
    with pytest.raises(PermanentError) as refusal:
        chosen(**asked)
    assert (refusal.value.code, refusal.value.context) == (SafeCode.REQUEST_INVALID, {"field": f"options.{field}"})
