"""`make audit` tells a finding from a clean answer, and either from no answer."""

import json
import sys
from pathlib import Path

import pytest

from cli.audit import audit

GOOD = {"name": "good", "version": "1", "vulns": []}
BAD = {"name": "bad", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
ABSENT = {"name": "absent", "skip_reason": "not there"}


def program(answer: object) -> tuple[str, ...]:
    """What pip-audit leaves behind: a report, or complaints on standard error."""
    report = f"open(sys.argv[-1], 'w').write({json.dumps(answer)!r})" if answer else "sys.exit('no route to host')"
    return (sys.executable, "-c", f"import sys; {report}")


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        ({"dependencies": [GOOD]}, 0, "audit: 1 requirements, 0 with a known vulnerability"),
        ({"dependencies": [GOOD, BAD, ABSENT]}, 1, "bad 2: PYSEC-1, mended in 3"),
        ({"dependencies": [ABSENT]}, 0, "not in the database: absent"),
        (None, 0, "audit: skipped, since no advisory database answered (no route to host)"),
    ],
)
def test_a_finding_fails_and_no_answer_is_said_to_be_none(
    capsys: pytest.CaptureFixture[str], answer: object, code: int, said: str
) -> None:
    assert audit(Path("requirements.lock"), program(answer)) == code
    assert said in capsys.readouterr().out


def test_without_the_program_it_is_skipped_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert audit(Path("requirements.lock"), ("/nowhere/pip-audit",)) == 0
    assert "skipped" in capsys.readouterr().out
