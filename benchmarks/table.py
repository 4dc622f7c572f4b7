"""The report: a table for people and an object for programs. No input, no output."""

from collections.abc import Sequence
from typing import Any

from benchmarks.case import Case
from benchmarks.figures import Figures, Series, Target

HEAD = ("case", "figure", "median", "min-max", "ratio", "target", "verdict")


def report(machine: dict[str, Any], limits: Figures, cases: Sequence[Case], skipped: Sequence[str]) -> dict[str, Any]:
    """Return everything that was measured; `missed` names what falls short."""
    every = [target for case in cases for target in case.targets()]
    return {
        "machine": machine,
        "limits": {name: series.as_json() for name, series in limits.series.items()},
        "cases": {case.letter: _case(case) for case in cases},
        "missed": [target.name for target in every if target.verdict == "missed"],
        "not_measured": [target.name for target in every if target.verdict == "not measured"],
        "failed": [case.letter for case in cases if case.failed],
        "skipped": list(skipped),
    }


def table(limits: Figures, peers: Figures, cases: Sequence[Case], skipped: Sequence[str]) -> str:
    """Lay everything out in columns; a line that falls short says so in its last one."""
    rows: list[tuple[str, ...]] = [
        HEAD,
        *(("limits", *_cells(name, series), "", "", "") for name, series in limits.series.items()),
    ]
    rows += (("peers", *_cells(name, series), "", "", "") for name, series in peers.series.items())
    for case in cases:
        rows.append((f"({case.letter})", case.title, *("",) * 5))
        rows += _rows(case)
        if case.failed:
            rows.append(("", "failed: " + case.failed, "", "", "", "", "FAILED"))
        rows += [("", note, "", "", "", "", "") for note in case.notes]
    rows += [("skipped", reason, "", "", "", "", "") for reason in skipped]
    return _aligned(rows)


def _case(case: Case) -> dict[str, Any]:
    targets = case.targets()
    return {
        "title": case.title,
        "figures": {name: series.as_json() for name, series in case.figures.series.items()},
        "ratios": {target.name: target.as_json()["ratio"] for target in targets},
        "targets": [target.as_json() for target in targets],
        "notes": list(case.notes),
        "failed": case.failed,
    }


def _rows(case: Case) -> list[tuple[str, ...]]:
    targets = case.targets()
    rows: list[tuple[str, ...]] = []
    for name, series in case.figures.series.items():
        judged = [target for target in targets if target.figure == name]
        first = _judgement(judged[0]) if judged else ("", "", "")
        rows.append(("", *_cells(name, series), *first))
        rows += [_target(target) for target in judged[1:]]
    return rows + [_target(target) for target in targets if target.figure not in case.figures.series]


def _target(target: Target) -> tuple[str, ...]:
    return ("", "  " + target.name, "", "", *_judgement(target))


def _cells(name: str, series: Series) -> tuple[str, str, str]:
    low, high = min(series.values), max(series.values)
    spread = f"{_number(low)}-{_number(high)}" if len(series.values) > 1 else ""
    return f"{name} [{series.unit}]", _number(series.median), spread


def _judgement(target: Target) -> tuple[str, str, str]:
    value = "" if target.ratio is None else f"{target.ratio:.3g}"
    verdict = "MISSED" if target.verdict == "missed" else target.verdict
    return value, target.wanted, verdict


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004  three digits either way


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    # A title or a reason may be longer than any figure's name: it runs on to the right.
    measured = [row for row in rows if any(row[2:])]
    widths = [max(len(row[place]) for row in measured) for place in range(len(HEAD))]
    widths[0] = max(len(row[0]) for row in rows)
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if place in (2, 3, 4) else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
