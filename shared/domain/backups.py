"""What a captured policy is worth when it has to be restored."""

from enum import StrEnum

UNKNOWN_ID = "unknown:"  # begins the id of an object that may have been created, where nobody knows its own


class Quality(StrEnum):
    """Stored is not usable: how much of an object a backup item holds."""

    FULL = "full"
    DEGRADED = "degraded"  # restorable in part; the warnings say what is missing
    METADATA_ONLY = "metadata_only"  # the name is known, the settings are not


class CaptureWarning(StrEnum):
    """Why an item is not `full`. Stable words, shown to people through a catalogue of texts."""

    MASKED_SECRET = "masked_secret"  # noqa: S105  a word, not a secret
    ASSIGNMENTS_MISSING = "assignments_missing"
    SETTINGS_MISSING = "settings_missing"
    SETTINGS_INCOMPLETE = "settings_incomplete"
