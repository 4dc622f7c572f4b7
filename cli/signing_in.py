"""Making a one-time sign-in link for a user."""

import re
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import UUID

from cli.console import usage

if TYPE_CHECKING:
    from cli.console import Output

_UNITS = {"s": 1, "m": 60, "h": 3600}
_LENGTH = re.compile(r"(\d{1,6})([smh])")


async def make_link(output: "Output", user: str, *, base: str, valid_for: timedelta) -> None:
    """Store the hash of a new link and print the link, once."""
    from cli.administration import actor, sessions
    from shared.domain.sessions import hash_of, new_token

    address, token = _base(base), new_token()
    async with sessions() as store:
        made = await store.add_link(_named(user), hash_of(token), valid_for=valid_for, created_by=actor())
    if made is None:
        raise usage(f"there is no user {user} who may sign in", next_step="reinstate user add")
    person, ends = made
    link = f"{address}/console/sign-in?link={token}"
    output.say(f"For {person.email}, once, until {ends:%H:%M:%S} UTC. It is not shown again:")
    document = {"user_id": str(person.id), "email": person.email, "url": link, "expires_at": ends.isoformat()}
    output.result(document, lambda console: console.print(link, markup=False, highlight=False, soft_wrap=True))


def length_of(text: str) -> timedelta:
    """Read `90s`, `10m` or `2h`; raise `CliFailure` for anything else and what is too short or too long."""
    from shared.domain.sessions import LINK_VALID_LEAST, LINK_VALID_MOST

    found = _LENGTH.fullmatch(text.strip().lower())
    length = timedelta(seconds=int(found[1]) * _UNITS[found[2]]) if found else None
    if length is None or not LINK_VALID_LEAST <= length <= LINK_VALID_MOST:
        raise usage("a link is valid for 1m to 24h: such as 90s, 10m or 2h")
    return length


def _named(user: str) -> "str | UUID":
    try:
        return UUID(user)
    except ValueError:
        return user.strip()


def _base(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise usage("the console's address is http(s)://host[:port]", code="cli.setting_invalid")
    return url.rstrip("/")
