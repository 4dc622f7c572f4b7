"""What must never be shown: masked values, and values of names that promise a secret.

Better one value too many is hidden than one too few: the patch of the preview still says that it differs.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

from shared.connectors.normalise import SECRET_SETTING
from shared.connectors.wording.spelling import words_of, words_run_together

HIDDEN = "hidden"

_SECRET_RUNS = (
    "accesskey",
    "accountkey",
    "apikey",
    "clientkey",
    "connectionstring",
    "credential",
    "encryptionkey",
    "keymaterial",
    "licensekey",
    "networkkey",
    "passcode",
    "passphrase",
    "passwd",
    "password",
    "presharedkey",
    "privatekey",
    "productkey",
    "psk",
    "pwd",
    "recoverykey",
    "secret",
    "sharedkey",
    "token",
    "wepkey",
    "wpakey",
)
_SECRET_WORDS = frozenset({"otp", "pin", "pins", "sas"})
# A name that ends like this tells of a secret's rules, not the secret.
_ABOUT_SECRETS = frozenset(
    {
        "age",
        "allowed",
        "attempts",
        "behavior",
        "blocked",
        "complexity",
        "count",
        "days",
        "disabled",
        "enabled",
        "expiration",
        "history",
        "hours",
        "length",
        "level",
        "location",
        "maximum",
        "minimum",
        "minutes",
        "mode",
        "period",
        "policy",
        "quality",
        "required",
        "retries",
        "rotation",
        "seconds",
        "set",
        "state",
        "type",
        "types",
        "usage",
    }
)
_LOOKED_AT = 64 * 1024  # characters; of a longer text nothing but its beginning or its hash is shown
_LONGEST_NAME = 256  # characters; nobody knows what a longer one promises
_NAMING_KEYS = ("name", "key", "appConfigKey", "displayName", "omaUri")
_VALUE_WORDS = frozenset({"content", "data", "payload", "string", "text", "value", "values"})
_MASK = re.compile(r"[*\u2022\u25cf]{3,}")
_EMBEDDED = re.compile(
    r"(?:passw|pwd|passphrase|secret|token|psk|(?:shared|account|access|api|private)[ _-]?key|keymaterial)"
    r"\w{0,20}[\"']?\s{0,3}[:=>]\s{0,3}\S"
    r"|[?&]sig="
    r"|://[^/\s:@]{1,99}:[^/\s@]{1,99}@"
    r"|bearer\s{1,3}\S{8}"
    r"|-----BEGIN[A-Z ]{0,30}PRIVATE",
    re.IGNORECASE,
)


def is_secret_name(name: str) -> bool:
    """Tell whether a text under this key is a secret: `wifiPassword` is, `passwordRequiredType` is not."""
    return len(name) > _LONGEST_NAME or _promises_secret(name)


@lru_cache(maxsize=4096)
def _promises_secret(name: str) -> bool:
    words = [word.lower() for word in (words_run_together if name.islower() else words_of)(name)]
    return bool(words) and words[-1] not in _ABOUT_SECRETS and _names_secret(name, words)


def is_secret(name: str, value: object) -> bool:
    """Tell whether this value of this key is hidden; a number only where nothing but the secret can be meant."""
    if isinstance(value, bool) or value is None or not is_secret_name(name):
        return False
    return not isinstance(value, int | float) or _plain(name).endswith((*_SECRET_RUNS, *_SECRET_WORDS))


def hides(holder: Mapping[str, object], key: str) -> bool:
    """Tell whether what an entry is called, or that it is masked, hides its value under `key`."""
    words = words_of(key)
    if not words or words[-1].lower() not in _VALUE_WORDS:
        return False
    if holder.get("isEncrypted") is True or holder.get("secretReferenceValueId"):
        return True
    if holder.get("@odata.type") == SECRET_SETTING:
        return True
    named = (holder.get(name) for name in _NAMING_KEYS if name != key)
    return any(isinstance(name, str) and is_secret_name(name) for name in named)


def is_masked(text: str) -> bool:
    """Tell whether the service showed nothing but a mask."""
    return _MASK.fullmatch(text.strip()) is not None


def holds_secret(text: str) -> bool:
    """Tell whether a text carries what looks like a secret of its own: `pwd=…`, `https://user:word@…`."""
    return _EMBEDDED.search(text, 0, _LOOKED_AT) is not None


def _names_secret(name: str, words: list[str]) -> bool:
    plain = _plain(name)
    return any(run in plain for run in _SECRET_RUNS) or not _SECRET_WORDS.isdisjoint(words)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
