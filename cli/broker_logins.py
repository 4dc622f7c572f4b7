"""Addresses of the broker for one user each, written to files that services read, or handed to processes."""

import asyncio
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from shared.messaging.broker_users import Provisioned, provision_users, remove_user
from shared.messaging.management import TopologyError, management_client
from shared.messaging.rights import BrokerLogin, Role, user_name

SERVED_AS = {  # what `reinstate serve` calls a service
    "dispatcher": Role.DISPATCHER,
    "restore-worker": Role.RESTORE,
    "bulk-worker": Role.BULK,
    "notifier": Role.NOTIFIER,
}
Logins = Mapping[str, BrokerLogin]
"""By the name of `reinstate serve`."""


def address_for(login: BrokerLogin, amqp_url: str) -> str:
    """Return the same broker and virtual host, for another user."""
    parts = urlsplit(amqp_url)
    user = f"{quote(login.user, safe='')}:{quote(login.password or '', safe='')}"
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}"))


def vhost_of(amqp_url: str) -> str:
    """Return the virtual host that an address leads to."""
    return unquote(urlsplit(amqp_url).path.removeprefix("/")) or "/"


def write_address(folder: Path, name: str, address: str) -> Path:
    """Replace `<folder>/<name>.amqp-url` in one step, readable by its owner only; return the file."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{name}.amqp-url"
    making = folder / f".{name}.{os.getpid()}"
    making.unlink(missing_ok=True)
    with os.fdopen(os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(address + "\n")
    making.replace(path)
    return path


async def service_logins(management_url: str, amqp_url: str, prefix: str) -> dict[str, BrokerLogin]:
    """Make the users of an installation that nobody made before; return those of services, by their served names."""
    made = await provision_users(management_url, vhost_of(amqp_url), prefix=prefix)
    by_user = {one.user: one for one in made}
    return {name: _new(by_user[user_name(role, prefix)]) for name, role in SERVED_AS.items()}


async def remove_logins(management_url: str, prefix: str, roles: Collection[Role] = tuple(Role)) -> None:
    """Remove the users of an installation; a broker that is gone took them along."""
    with suppress(TopologyError):
        async with management_client(management_url) as client:
            await asyncio.gather(*(remove_user(client, user_name(role, prefix)) for role in roles))


def _new(made: Provisioned) -> BrokerLogin:
    if made.login.password is None:
        raise ValueError(f"the user {made.user} is somebody else's")
    return made.login
