"""`python -m cli.error_reference > docs/reference/errors.md`: the catalogue of safe codes, family by family."""

import sys
from itertools import groupby

from shared.domain.error_actions import actionability_of, label_of
from shared.domain.error_texts import ERROR_TEXTS
from shared.domain.errors import CONTEXT_KEYS, CONTEXT_LIMIT, SafeCode

_HEAD = """\
# Error codes

Generated from `shared/domain/errors.py` and `shared/domain/error_texts.py`; do not edit. To write it again:
`python -m cli.error_reference > docs/reference/errors.md`.

A code is stable and for programs: it is never renamed, and its meaning does not change. Title and next step are for
people and may be worded better at any time. Rows, messages, notifications, logs and HTTP answers (`code` of a problem)
carry a code where others carry an error's text.

*Whose turn* is one of: `none` (nobody's: it is as it should be, or it is tried again by itself), `repeat` (the
caller's: the same again, later), `request` (the caller's: something else has to be asked for), `tenant` (the tenant's
administrator's), `operator` (ours), `person` (somebody has to look and decide).
"""


def reference() -> str:
    """Return the page; a test compares it with the committed one."""
    parts = [_HEAD]
    for family, codes in groupby(sorted(SafeCode, key=lambda code: code.family), key=lambda code: code.family):
        parts.append(f"## {label_of(family)} (`{family}`)\n")
        parts.append("| code | what it means | whose turn | what to do |\n| --- | --- | --- | --- |")
        parts.extend(
            f"| `{code.value}` | {text.title} | `{actionability_of(code)}` | {text.next_step} |"
            for code, text in ((code, ERROR_TEXTS[code]) for code in codes)
        )
        parts.append("")
    keys = ", ".join(f"`{key}`" for key in sorted(CONTEXT_KEYS))
    parts.append("## Context\n")
    parts.append(
        f"Beside its code an error may carry these keys and no others; texts end after {CONTEXT_LIMIT} characters:"
    )
    parts.append(f"{keys}.")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
