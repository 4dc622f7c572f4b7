import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.audit_signing import BadKey, Signer, Verifier
from shared.domain.audit_anchors import Anchor, anchors_of, unsigned
from shared.domain.audit_chain import GENESIS, Chain, ChainRow, Finding, Head, Wrong, netstrings
from shared.domain.audit_export import (
    NoExport,
    anchor_line,
    end_line,
    header,
    row_line,
    trail_line,
    verify_export,
)

TENANT, OTHER = UUID(int=7), UUID(int=8)
NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)


def a_row(before: ChainRow | None = None, **changes: object) -> ChainRow:
    """Build the row that follows."""
    number = before.sequence + 1 if before else 1
    fields = {
        "tenant_id": TENANT,
        "sequence": number,
        "previous_hash": before.hash if before else GENESIS,
        "hash": "",
        "id": UUID(int=number),
        "action": "a.b",
        "outcome": "success",
        "actor_type": "user",
        "actor_id": None,
        "actor_name": "Mara",
        "target_type": None,
        "target_id": None,
        "summary": "done",
        "context": "{}",
        "created_at": "2026-03-02T09:30:00.000000Z",
    }
    return sealed(ChainRow(**(fields | changes)))  # type: ignore[arg-type]  # as the fields are


def sealed(row: ChainRow) -> ChainRow:
    return replace(row, hash=row.expected_hash)


def a_chain(count: int, **changes: object) -> list[ChainRow]:
    rows: list[ChainRow] = []
    for number in range(1, count + 1):
        rows.append(a_row(rows[-1] if rows else None, summary=f"done {number}", **changes))
    return rows


def head_of(rows: list[ChainRow]) -> Head:
    return Head(rows[-1].tenant_id, rows[-1].sequence, rows[-1].hash)


def verified(rows: list[ChainRow], head: Head | None, *anchored: Head) -> Finding | None:
    chain = Chain(TENANT)
    for one in anchored:
        chain.expect(one)
    for row in rows:
        chain.add(row)
    return chain.end(head)


chains = st.builds(
    lambda texts: [
        rows := [],
        [rows.append(a_row(rows[-1] if rows else None, actor_name=name, summary=text)) for name, text in texts],
    ][0],
    st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=12),
)


@given(chains)
def test_a_chain_as_it_was_appended_is_whole(rows: list[ChainRow]) -> None:
    anchored = [Head(TENANT, row.sequence, row.hash) for row in rows]

    assert verified(rows, head_of(rows), *anchored) is None


@given(chains, st.data())
def test_any_field_of_any_row_that_was_changed_is_found_there(rows: list[ChainRow], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from(["action", "outcome", "actor_name", "summary", "context", "created_at"]))
    value = data.draw(TEXTS.filter(lambda text: text != getattr(rows[place], name)))
    changed = [*rows]
    changed[place] = replace(rows[place], **{name: value})

    assert verified(changed, head_of(rows)) == Finding(TENANT, place + 1, Wrong.CHANGED)


@given(chains, st.data())
def test_a_row_that_was_changed_with_its_hash_is_found_there(rows: list[ChainRow], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(rows) - 1))
    changed = [*rows]
    changed[place] = sealed(replace(rows[place], summary=rows[place].summary + "!"))

    assert verified(changed, head_of(rows)) == Finding(TENANT, place + 1, Wrong.REWRITTEN)


@given(chains, st.data())
def test_rows_that_were_deleted_are_named_by_the_first_number_that_is_missing(
    rows: list[ChainRow], data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(rows) - 1))
    count = data.draw(st.integers(1, len(rows) - first))

    found = verified(rows[:first] + rows[first + count :], head_of(rows))

    assert found == Finding(TENANT, first + 1, Wrong.MISSING)


@given(chains, st.data())
def test_two_rows_that_changed_places_are_found_at_the_first(rows: list[ChainRow], data: st.DataObject) -> None:
    """Whether only their numbers were exchanged, or everything but them."""
    if len(rows) == 1:
        return
    first = data.draw(st.integers(0, len(rows) - 2))
    second = data.draw(st.integers(first + 1, len(rows) - 1))
    swapped = [*rows]
    swapped[first] = replace(rows[second], sequence=rows[first].sequence)
    swapped[second] = replace(rows[first], sequence=rows[second].sequence)

    assert verified(swapped, head_of(rows)) == Finding(TENANT, first + 1, Wrong.CHANGED)


@given(chains, st.data())
def test_a_row_that_was_put_in_is_found(rows: list[ChainRow], data: st.DataObject) -> None:
    place = data.draw(st.integers(1, len(rows)))
    forged = a_row(rows[place - 1], summary="never happened")

    found = verified([*rows[:place], forged, *rows[place:]], head_of(rows))

    assert found is not None
    assert found.sequence == place + 1
    assert found.wrong is (Wrong.NOT_APPENDED if place == len(rows) else Wrong.OUT_OF_PLACE)


@given(chains, st.data())
def test_a_chain_that_was_written_anew_with_its_head_is_found_by_an_anchor_alone(
    rows: list[ChainRow], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(rows) - 1))
    anew = rows[:place]
    for row in rows[place:]:
        before = anew[-1] if anew else None
        anew.append(a_row(before, actor_name=row.actor_name, summary=row.summary + "!"))
    anchored = [Head(TENANT, row.sequence, row.hash) for row in rows]

    assert verified(anew, head_of(anew)) is None
    found = verified(anew, head_of(anew), *anchored)
    assert found == Finding(TENANT, place + 1, Wrong.NOT_ANCHORED_SO, last_anchored=place)
    assert verified(anew, head_of(anew), anchored[-1]) is not None, "the furthest is enough"


@given(chains, st.data())
def test_a_tail_that_was_cut_off_with_its_head_is_found_by_an_anchor(rows: list[ChainRow], data: st.DataObject) -> None:
    left = data.draw(st.integers(0, len(rows) - 1))
    kept = rows[:left]
    head = head_of(kept) if kept else None

    assert verified(kept, head) is None
    assert verified(kept, head, head_of(rows)) == Finding(TENANT, left + 1, Wrong.MISSING)


def test_a_head_that_was_deleted_is_found() -> None:
    assert verified(a_chain(3), None) == Finding(TENANT, 3, Wrong.HEAD_MISSING)


def test_very_many_anchors_are_thinned_and_the_furthest_is_kept() -> None:
    rows = a_chain(10)
    chain = Chain(TENANT)
    for number in range(5_000):
        chain.expect(Head(TENANT, number + 1_000, "0" * 64))
    for row in rows:
        chain.add(row)

    assert chain.end(head_of(rows)) == Finding(TENANT, 11, Wrong.MISSING)
    assert len(chain._heads) <= 1_000


@given(st.lists(st.none() | TEXTS, max_size=5), st.lists(st.none() | TEXTS, max_size=5))
def test_two_lists_of_fields_never_look_the_same(one: list[str | None], other: list[str | None]) -> None:
    assert (netstrings(*one) == netstrings(*other)) == (one == other)


def exported(rows: list[ChainRow], *anchors: Anchor, head: Head | None = None, count: int | None = None) -> list[str]:
    return [
        header("2026-03-02T09:30:00+00:00"),
        trail_line(TENANT, head or head_of(rows)),
        *map(anchor_line, anchors),
        *map(row_line, rows),
        end_line(1, len(rows) if count is None else count),
    ]


def read(lines: list[str]) -> io.StringIO:
    return io.StringIO("".join(lines))


@given(chains)
def test_an_export_is_verified_without_a_database(rows: list[ChainRow]) -> None:
    verdict = verify_export(read(exported(rows, unsigned(head_of(rows), NOW))))

    assert (verdict.findings, verdict.tenants, verdict.rows, verdict.anchored) == ([], 1, len(rows), len(rows))


@given(chains, st.data())
def test_an_export_with_one_character_changed_is_found(rows: list[ChainRow], data: st.DataObject) -> None:
    """Whatever it is: either the file is no export any more, or a row is named."""
    lines = exported(rows)
    place = data.draw(st.integers(2, len(lines) - 2))
    line = lines[place]
    at = data.draw(st.integers(0, len(line) - 2))
    other = data.draw(st.characters(min_codepoint=32, max_codepoint=126).filter(lambda c: c != line[at]))
    lines[place] = line[:at] + other + line[at + 1 :]
    try:
        same = json.loads(lines[place]) == json.loads(line)  # another spelling of the same
    except ValueError:
        same = False
    bad_line, found = None, True
    try:
        found = bool(verify_export(read(lines)).findings)
    except NoExport as error:
        bad_line = error.line
    assert bad_line in (None, place + 1)
    assert same or found


def test_a_forged_export_is_whole_in_itself_and_found_by_anchors_that_were_kept_or_signed() -> None:
    rows, forged = a_chain(5), a_chain(5, actor_name="Nobody")
    private, signer = Signer.new()
    check = Verifier.of(Signer.of(private).public_key).is_genuine
    genuine = signer.anchor(head_of(rows), NOW)
    by_a_stranger = Signer.new()[1].anchor(head_of(forged), NOW)

    assert verify_export(read(exported(forged))).findings == []
    kept = verify_export(read(exported(forged)), anchors={TENANT: [genuine]}, is_genuine=check)
    assert kept.findings == [Finding(TENANT, 5, Wrong.NOT_ANCHORED_SO)]
    own = verify_export(read(exported(forged, by_a_stranger)), is_genuine=check)
    assert own.findings == [Finding(TENANT, 5, Wrong.ANCHOR_FORGED)]
    bare = verify_export(read(exported(forged, unsigned(head_of(forged), NOW))), is_genuine=check)
    assert (bare.findings, bare.anchored) == ([], 0), "without a signature it vouches for nothing"
    assert verify_export(read(exported(rows, genuine)), is_genuine=check).anchored == 5


def test_a_tenant_that_was_left_out_of_an_export_is_found_by_its_anchor() -> None:
    rows = a_chain(2)
    of_other = unsigned(Head(OTHER, 3, "0" * 64), NOW)

    verdict = verify_export(read(exported(rows)), anchors={OTHER: [of_other]})

    assert verdict.findings == [Finding(OTHER, 1, Wrong.MISSING)]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: lines[:-1],
        lambda lines: lines[1:],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [*lines[:-1], *lines[1:]],
        lambda lines: [*lines[:2], "{" * 100_000 + "\n", *lines[2:]],
        lambda lines: [*lines[:2], "x" * 2_000_000, *lines[2:]],
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: [*lines[:-1], end_line(1, 99)],
        lambda lines: [line.replace('"sequence": 1', '"sequence": true') for line in lines],
        lambda _lines: [],
    ],
)
def test_what_is_no_whole_export_is_refused(spoil: object) -> None:
    lines = exported(a_chain(3))

    with pytest.raises(NoExport):
        verify_export(read(spoil(lines)))  # type: ignore[operator]  # a function


def test_lone_surrogates_in_a_forged_export_are_found() -> None:
    lines = [line.replace("done 2", "\\ud800") for line in exported(a_chain(3))]

    assert verify_export(read(lines)).findings == [Finding(TENANT, 2, Wrong.CHANGED)]


def test_anchors_are_found_in_a_log_among_other_lines() -> None:
    anchor = Signer.new()[1].anchor(head_of(a_chain(2)), NOW)
    log = [
        json.dumps({"action": "sweeper.acted", "level": "info"}) + "\n",
        "2026-03-02 dispatcher-0 | " + json.dumps({"action": "audit.anchored", **anchor.document()}) + "\n",
        json.dumps({"action": "audit.anchored", "tenant_id": "nobody"}) + "\n",
        "{" * 50_000 + "\n",
        anchor_line(anchor),
    ]

    assert list(anchors_of(io.StringIO("".join(log)))) == [anchor, anchor]


@pytest.mark.parametrize("text", ["", "abc", "x" * 44, "AAAA"])
def test_what_is_no_key_is_refused_without_being_shown(text: str) -> None:
    for read_key in (Signer.of, Verifier.of):
        with pytest.raises(BadKey) as error:
            read_key(text)
        assert text == "" or text not in str(error.value)


def test_a_changed_anchor_is_not_genuine() -> None:
    signer = Signer.new()[1]
    check = Verifier.of(signer.public_key).is_genuine
    anchor = signer.anchor(Head(TENANT, 3, "a" * 64), NOW)

    assert check(anchor)
    for changed in (
        replace(anchor, head=Head(OTHER, 3, "a" * 64)),
        replace(anchor, head=Head(TENANT, 4, "a" * 64)),
        replace(anchor, head=Head(TENANT, 3, "b" * 64)),
        replace(anchor, anchored_at="2026-03-02T09:30:01Z"),
        replace(anchor, signature=None),
        replace(anchor, signature="no base64"),
    ):
        assert not check(changed)
