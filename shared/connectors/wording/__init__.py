"""Changes in words: what a preview tells people, where the JSON Patch tells machines.

Pure: from two normal forms and the declaration of their type. `changes` is the way in; `forms` compares, `catalog` and
`definitions` know the settings catalog, `texts` and `spelling` put values and names into words, `secrecy` decides
what is never shown.
"""

from shared.connectors.wording.changes import NO_NAMES, changes_in_words
from shared.connectors.wording.model import MOST_LINES, Kind, Wording

__all__ = ["MOST_LINES", "NO_NAMES", "Kind", "Wording", "changes_in_words"]
