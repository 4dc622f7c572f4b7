"""How quickly work can be done at all that has to keep to limits. No input, no output."""

import math
from collections.abc import Mapping

from shared.domain.budget import Limit


def shortest(requests: Mapping[str, int], limits: Mapping[str, Limit], unlimited: float) -> float:
    """Return the seconds that the work takes at least, its slowest class deciding.

    `requests` counts by class, `unlimited` is how many seconds the same work takes without limits. A class gets its
    whole limit at the start of each window; what is left for the last window takes its share of `unlimited`.
    """
    return max([unlimited, *(_of(count, limits[name], unlimited) for name, count in requests.items() if count)])


def _of(count: int, limit: Limit, unlimited: float) -> float:
    windows = math.ceil(count / limit.count) - 1
    left = count - windows * limit.count
    return windows * limit.seconds + unlimited * left / count
