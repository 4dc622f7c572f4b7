"""Figures, what they are compared with, and the verdict. No input, no output."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Series:
    """One figure, a value for each round."""

    unit: str
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return statistics.median(self.values)

    def as_json(self) -> dict[str, Any]:
        """Median and spread, in four significant digits."""
        low, high = rounded(min(self.values)), rounded(max(self.values))
        return {"unit": self.unit, "median": rounded(self.median), "min": low, "max": high, "rounds": len(self.values)}


class Figures:
    """Series by name, in the order in which they came."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self.series: dict[str, Series] = {}

    def add(self, name: str, value: float, unit: str) -> None:
        """Add the value of one round."""
        self.series.setdefault(name, Series(unit)).values.append(value)

    def median(self, name: str) -> float | None:
        """Return the median; None where nothing was measured."""
        series = self.series.get(name)
        return series.median if series else None

    def best(self, names: Sequence[str]) -> float | None:
        """Return the highest median of these; None where none was measured."""
        return max((m for m in (self.median(name) for name in names) if m is not None), default=None)


@dataclass(frozen=True, slots=True)
class Target:
    """A ratio and its bound. `figure` is the figure that it judges; `ratio` is None where a part was not measured."""

    name: str
    figure: str
    ratio: float | None
    bound: float
    at_least: bool

    @property
    def verdict(self) -> str:
        """`met`, `missed` or `not measured`."""
        if self.ratio is None or math.isnan(self.ratio):
            return "not measured"
        is_met = self.ratio >= self.bound if self.at_least else self.ratio <= self.bound
        return "met" if is_met else "missed"

    @property
    def wanted(self) -> str:
        """The bound, as the table shows it."""
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"

    def as_json(self) -> dict[str, Any]:
        """The comparison and its verdict."""
        ratio = None if self.ratio is None else rounded(self.ratio)
        return {
            "name": self.name,
            "figure": self.figure,
            "ratio": ratio,
            "target": self.wanted,
            "verdict": self.verdict,
        }


def at_least(name: str, figure: str, ratio: float | None, bound: float) -> Target:
    """Ask for no less than `bound`."""
    return Target(name, figure, ratio, bound, at_least=True)


def at_most(name: str, figure: str, ratio: float | None, bound: float) -> Target:
    """Ask for no more than `bound`."""
    return Target(name, figure, ratio, bound, at_least=False)


def ratio(one: float | None, other: float | None) -> float | None:
    """Divide, where both were measured."""
    return None if one is None or not other else one / other


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def rounded(value: float) -> float:
    """Four significant digits; whole numbers from 1,000 on."""
    if not math.isfinite(value):
        return 0.0
    return float(round(value)) if abs(value) >= 1000 else float(f"{value:.4g}")  # noqa: PLR2004  as said
