"""Times as commands take them: `90s`, `15m`, `2h`, `7d`."""

from datetime import timedelta

from cli.console import usage

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_MOST_DIGITS = 6  # 300 years of minutes; a day has no such limit of its own


def duration(text: str) -> timedelta:
    """Read a time; raise `CliFailure` for what is none."""
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not (number.isascii() and number.isdigit()) or len(number) > _MOST_DIGITS:
        raise usage("a time is a number and one of s, m, h, d: 90s, 15m, 2h, 7d")
    return timedelta(**{_UNITS[unit]: int(number)})
