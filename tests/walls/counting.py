"""What the proof of the walls counted, and the line that it ends in."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

import pytest

PROPERTY: Final = "walls"
TAMPERED: Final = "test_what_a_superuser_did_is_found_and_the_first_bad_row_named"
_WHOLE: Final = ("routes", "roles", "tables")  # of each there is one number, whoever counted it
_SUMMED: Final = ("cells", "leaks", "canaries")

Counted = Callable[..., None]


def recorder(record_property: Callable[[str, object], None]) -> Counted:
    """Return what takes numbers by name: `routes`, `roles`, `tables`, `cells`, `leaks` and `canaries`."""

    def counted(**numbers: int) -> None:
        record_property(PROPERTY, json.dumps(numbers))

    return counted


def summary(reports: Iterable[pytest.TestReport]) -> str:
    """Return the last line: what was asked, and how many answers were wrong.

    `leaks` are answers that were not as the tables say, `canaries` planted secrets that were found, `audit` ways to
    tamper with the trail that were found, of those that were tried.
    """
    whole: Counter[str] = Counter()
    summed: Counter[str] = Counter()
    tried: dict[str, bool] = {}
    failed: set[str] = set()
    for report in reports:
        if report.failed:
            failed.add(report.nodeid)
        if report.when == "call" and TAMPERED in report.nodeid:
            tried[report.nodeid] = report.passed
        for name, value in report.user_properties if report.when == "teardown" else ():
            for key, number in json.loads(str(value)).items() if name == PROPERTY else ():
                if key in _WHOLE:
                    whole[key] = max(whole[key], number)
                else:
                    summed[key] += number
    parts = [f"{key}={whole[key]}" for key in ("routes", "roles")] + [f"cells={summed['cells']}"]
    parts += [f"tables={whole['tables']}"] + [f"{key}={summed[key]}" for key in _SUMMED if key != "cells"]
    return " ".join([*parts, f"audit={sum(tried.values())}/{len(tried)}", f"failed={len(failed)}"])
