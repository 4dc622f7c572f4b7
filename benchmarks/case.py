"""What one case of the measurement brings."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from benchmarks.figures import Figures, Target

if TYPE_CHECKING:
    from benchmarks.bench import Bench


class Case(ABC):
    """Measured once a round; it brings servers' contents and processes of its own and ends them again."""

    letter: ClassVar[str]
    title: ClassVar[str]
    patience: ClassVar[float] = 240.0  # seconds for one round; then the case has failed
    once: ClassVar[bool] = False  # too long for more than the first round

    def __init__(self, bench: "Bench") -> None:
        """Measure for `bench`, which has the limits of the same run."""
        self.bench = bench
        self.figures = Figures()
        self.notes: list[str] = []
        self.failed: str | None = None

    @abstractmethod
    async def round(self) -> None:
        """Measure once and add to `figures`."""

    @abstractmethod
    def targets(self) -> Sequence[Target]:
        """Compare what was measured so far; without a figure the ratio is None."""
