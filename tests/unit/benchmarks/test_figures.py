"""Figures, verdicts and the report, without measuring anything."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from benchmarks.case import Case
from benchmarks.figures import Figures, Target, at_least, at_most, percentile, ratio, rounded
from benchmarks.floor import shortest
from benchmarks.options import LETTERS, OptionRefused, read_options
from benchmarks.table import report, table
from shared.domain.budget import Limit

if TYPE_CHECKING:
    from benchmarks.bench import Bench


def figures(**values: Sequence[float]) -> Figures:
    made = Figures()
    for name, several in values.items():
        for value in several:
            made.add(name, value, "items/s")
    return made


class Sample(Case):
    letter = "a"
    title = "a sample"

    async def round(self) -> None:
        self.figures.add("rate", 50, "items/s")

    def targets(self) -> Sequence[Target]:
        mine = self.figures.median("rate")
        return [
            at_least("a: rate ÷ 10", "rate", ratio(mine, 10), 4),
            at_most("a: rate ÷ 5", "rate", ratio(mine, 5), 2),
            at_least("a: rate ÷ a peer's", "rate", ratio(mine, None), 1),
        ]


async def sample(*, failed: str | None = None) -> Sample:
    case = Sample(cast("Bench", None))
    await case.round()
    case.failed = failed
    return case


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        (at_least("x", "y", 10.0, 10), "met"),
        (at_least("x", "y", 9.99, 10), "missed"),
        (at_most("x", "y", 1.15, 1.15), "met"),
        (at_most("x", "y", 1.16, 1.15), "missed"),
        (at_most("x", "y", 0.0, 0), "met"),
        (at_least("x", "y", None, 10), "not measured"),
        (at_most("x", "y", float("nan"), 10), "not measured"),
    ],
)
def test_a_target_is_judged_by_its_ratio_and_nothing_measured_is_no_verdict(target: Target, verdict: str) -> None:
    assert target.verdict == verdict


def test_a_ratio_needs_both_sides() -> None:
    assert ratio(6, 3) == 2
    assert ratio(None, 3) is None
    assert ratio(6, None) is None
    assert ratio(6, 0) is None


def test_a_figure_is_the_median_of_its_rounds_with_their_spread() -> None:
    made = figures(rate=[3, 1, 200])

    assert made.series["rate"].as_json() == {"unit": "items/s", "median": 3, "min": 1, "max": 200, "rounds": 3}
    assert made.median("absent") is None
    assert figures(slow=[1], quick=[5]).best(["slow", "quick", "absent"]) == 5
    assert figures().best(["absent"]) is None


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_a_percentile_is_a_value_that_was_measured(share: float, value: int) -> None:
    assert percentile(list(range(100, 0, -1)), share) == value


@pytest.mark.parametrize(
    ("value", "shown"), [(12_345.6, 12_346), (1.23456, 1.235), (0.000123456, 0.0001235), (float("inf"), 0)]
)
def test_numbers_are_rounded_to_what_means_something(value: float, shown: float) -> None:
    assert rounded(value) == shown


async def test_the_report_names_what_falls_short_and_what_was_not_compared() -> None:
    whole = report({"cores": 2}, figures(R=[100]), [await sample()], ["one: not installed"])

    assert whole["missed"] == ["a: rate ÷ 5"]
    assert whole["not_measured"] == ["a: rate ÷ a peer's"]
    assert whole["failed"] == []
    assert whole["skipped"] == ["one: not installed"]
    assert whole["cases"]["a"]["ratios"] == {"a: rate ÷ 10": 5, "a: rate ÷ 5": 10, "a: rate ÷ a peer's": None}
    assert whole["cases"]["a"]["targets"][0]["target"] == "≥ 4"
    assert "\n" not in json.dumps(whole)


async def test_a_case_that_failed_is_shown_with_its_reason() -> None:
    case = await sample(failed="not done after 3 s")

    whole = report({}, figures(), [case], [])
    lines = table(figures(R=[100]), figures(), [case], []).splitlines()

    assert whole["failed"] == ["a"]
    assert whole["cases"]["a"]["failed"] == "not done after 3 s"
    assert any("not done after 3 s" in line and line.endswith("FAILED") for line in lines)


async def test_the_table_marks_what_falls_short() -> None:
    limits, peers = figures(R=[90, 100, 110]), figures(another=[7])
    lines = table(limits, peers, [await sample()], ["one: not installed"]).splitlines()

    assert "90-110" in next(line for line in lines if "R [items/s]" in line)
    assert [line.split() for line in lines if line.startswith("peers")] == [["peers", "another", "[items/s]", "7"]]
    assert [line.split()[-1] for line in lines if "≤ 2" in line] == ["MISSED"]
    assert [line.split()[-1] for line in lines if "≥ 4" in line] == ["met"]
    assert lines[-1].split() == ["skipped", "one:", "not", "installed"]


def test_without_options_every_case_is_measured_three_times() -> None:
    options = read_options({"QUICK": "", "ONLY": "", "PEERS": ""})

    assert (options.quick, options.rounds, options.only, options.peers) == (False, 3, LETTERS, None)


def test_options_choose_cases_rounds_and_folders(tmp_path: Path) -> None:
    given = {"QUICK": "1", "ONLY": "c, a", "PEERS": str(tmp_path), "SOURCE": str(tmp_path)}
    options = read_options(given)

    assert (options.quick, options.rounds, options.only) == (True, 1, "ac")
    assert options.peers == options.source == tmp_path.resolve()
    assert read_options({**given, "ROUNDS": "5"}).rounds == 5


@pytest.mark.parametrize(
    "wrong", [{"ONLY": "a,k"}, {"ONLY": "ab"}, {"ROUNDS": "0"}, {"ROUNDS": "x"}, {"PEERS": "gone"}]
)
def test_an_option_that_means_nothing_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(OptionRefused, match=next(iter(wrong))):
        read_options(wrong)


WRITES = {"write": Limit(95, 20.0), "any": Limit(950, 20.0)}


def test_work_within_one_window_takes_as_long_as_without_limits() -> None:
    assert shortest({"write": 95, "any": 400}, WRITES, 3.0) == 3.0
    assert shortest({}, WRITES, 3.0) == 3.0


def test_work_of_several_windows_waits_for_all_but_the_first() -> None:
    assert shortest({"write": 95 * 3}, WRITES, 6.0) == pytest.approx(42.0)
    assert shortest({"write": 96}, WRITES, 0.96) == pytest.approx(20.01)


def test_the_slowest_class_decides() -> None:
    assert shortest({"write": 96, "any": 951 * 2}, WRITES, 0.0) == pytest.approx(40.0)
