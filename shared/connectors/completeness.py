"""How much of an object a payload holds, whoever captured or exported it."""

from shared.connectors.normalise import has_masked_secret
from shared.connectors.policy_types import PolicyType
from shared.connectors.port import Json
from shared.domain.backups import CaptureWarning, Quality


def judge(one: PolicyType, payload: Json, *, assignments_known: bool) -> tuple[Quality, tuple[CaptureWarning, ...]]:
    """Return the quality of an item and what is missing: stored is not usable."""
    held = {sub.key: payload.get(sub.key) for sub in one.sub_collections}
    if not all(isinstance(entries, list) for entries in held.values()):
        return Quality.METADATA_ONLY, (CaptureWarning.SETTINGS_MISSING,)
    warnings = []
    if has_masked_secret(payload):
        warnings.append(CaptureWarning.MASKED_SECRET)
    if not assignments_known:
        warnings.append(CaptureWarning.ASSIGNMENTS_MISSING)
    stated, settings = payload.get("settingCount"), held.get("settings")
    if isinstance(stated, int) and isinstance(settings, list) and len(settings) < stated:
        warnings.append(CaptureWarning.SETTINGS_INCOMPLETE)
    return (Quality.DEGRADED if warnings else Quality.FULL), tuple(warnings)
