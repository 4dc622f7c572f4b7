"""The revisions of the schema that this code knows.

Written down rather than read from the migrations: a service only asks whether the schema fits, and to load the tool
that changes it would be a tenth of its start. A test compares the two.
"""

from typing import Final

KNOWN: Final = ("0001",)  # oldest first
HEAD: Final = KNOWN[-1]


def serves(revision: str | None) -> bool:
    """Tell whether this code runs on that schema: its own newest one, or a later one that it cannot know yet."""
    return revision is not None and (revision == HEAD or revision not in KNOWN)
