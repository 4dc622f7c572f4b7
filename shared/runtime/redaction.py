"""What of a log field may be seen. Pure, and the same for every line: nothing that a caller passes can switch it off.

Names decide first (deny list, then the names of payloads); then every text is searched for what looks like a secret,
whatever its name, and made one printable line.
"""

import re
from collections.abc import Mapping
from typing import Any

REDACTED = "[redacted]"
UNPRINTABLE = "?"
TEXT_LIMIT = 500  # characters of one value
_SEARCHED = 20_000  # characters that are searched at all; what is beyond is cut off anyway
_DEPTH = 8
_ITEMS = 100  # of one list or mapping

# Compared without case, hyphens and underscores, wherever it occurs in a name.
_DENIED = (
    *("secret", "password", "passwd", "passphrase", "passcode", "pwd", "presharedkey", "psk"),
    *("token", "authorization", "cookie", "credential", "assertion", "signature"),
    *("apikey", "privatekey", "accesskey", "accountkey", "clientkey", "connectionstring", "dsn"),
)
# Names that hold a denied word and no secret: exactly these.
_ALLOWED = frozenset({"token_expires_in"})
_PAYLOADS = frozenset(
    {"body", "payload", "data", "content", "request", "response", "settings", "headers", "sql", "params"}
)
_NOT_A_WORD = re.compile(r"[^a-z0-9]")

# Words of the deny list as they are spelled in running text, for NAME=VALUE and "name": "value".
_WORDS = (
    r"secret|pass[ _-]?word|passwd|passphrase|passcode|pwd|pre[_-]?shared[_-]?key|psk|token|cookie|credential|assertion"
    r"|signature|\bsig|api[_-]?key|private[_-]?key|access[_-]?key|account[_-]?key|client[_-]?key|connection[_-]?string"
)
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    # A PEM block, whole or cut off.
    (re.compile(r"-----BEGIN [^-]{0,64}-----.*?(?:-----END [^-]{0,64}-----|\Z)", re.DOTALL), REDACTED),
    # The login of an address, up to the last @ of the word: a password may hold one.
    (re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,30}://)[^\s\"'<>]*@"), r"\g<scheme>"),
    # JWS and JWE, compact: a base64url JSON object and more parts.
    (re.compile(r"\beyJ[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*){1,4}"), REDACTED),
    (
        re.compile(r"\b(Bearer|SharedAccessSignature|SharedKey)\s+(?!\[redacted\])[^\s,;\"']+", re.IGNORECASE),
        rf"\1 {REDACTED}",
    ),
    (re.compile(r"\b(Basic|Digest|Negotiate)\s+[A-Za-z0-9+/=_-]{8,}", re.IGNORECASE), rf"\1 {REDACTED}"),
    (
        re.compile(
            rf"(?P<name>(?:{_WORDS})[\w.-]{{0,40}}[\"']?\s{{0,3}}[=:]\s{{0,3}})"
            r"(?!\s|\[redacted\])(?:\"[^\"]*(?:\"|\Z)|'[^']*(?:'|\Z)|[^\s,;&\"']+)",
            re.IGNORECASE,
        ),
        rf"\g<name>{REDACTED}",
    ),
    # A client secret of Entra ID by its own mark.
    (re.compile(r"[A-Za-z0-9_~.-]{3}\dQ~[A-Za-z0-9_~.-]{20,}"), REDACTED),
    # People: who they are is in the audit trail, where they work is enough for a log.
    (re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@(?=[A-Za-z0-9-]+\.)"), f"{REDACTED}@"),
)


def is_denied(name: str) -> bool:
    """Tell whether values of this name are never shown."""
    if name in _ALLOWED:
        return False
    plain = name.lower()
    word = _NOT_A_WORD.sub("", plain)
    return any(denied in word for denied in _DENIED) or word.endswith("url") or plain in _PAYLOADS


def redacted(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields as they may be seen. Never raises."""
    return {_line(str(name)): _value(str(name), value, 0) for name, value in fields.items()}


def scrubbed(text: str) -> str:
    """Return the text in one printable line, without what looks like a secret, and not too long."""
    line = _line(text[:_SEARCHED])
    for pattern, instead in _RULES:
        line = pattern.sub(instead, line)
    return line[:TEXT_LIMIT]


def _value(name: str, value: Any, depth: int) -> Any:  # noqa: ANN401  log fields are anything
    if is_denied(name) or isinstance(value, bytes | bytearray | memoryview) or depth >= _DEPTH:
        return REDACTED
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, Mapping):
        pairs = list(value.items())[:_ITEMS]
        return {scrubbed(_text(inner)): _value(_text(inner), one, depth + 1) for inner, one in pairs}
    if isinstance(value, list | tuple | set | frozenset):
        return [_value(name, one, depth + 1) for one in list(value)[:_ITEMS]]
    return scrubbed(_text(value))


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001  what cannot be shown must not end the line, nor the program
        return UNPRINTABLE


def _line(text: str) -> str:
    """A line break or another control character would make a second line, or hide one."""
    return "".join(c if c.isprintable() else " " for c in text)
