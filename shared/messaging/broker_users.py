"""Users on the broker: made, brought in line with `rights`, given a new password, removed."""

import asyncio
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import httpx

from shared.domain.errors import SafeCode
from shared.messaging.management import TopologyError, call, management_client
from shared.messaging.rights import PREFIX, ROLES, BrokerLogin, Rights, Role, user_name

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

GUEST = "guest"
_AGAIN_AFTER = (0.1, 0.3, 1.0)  # seconds
_PASSWORD_BYTES = 32


@dataclass(frozen=True, slots=True)
class Provisioned:
    """A user as it is now. The password is there only when this call set it."""

    login: BrokerLogin
    created: bool
    changes: tuple[str, ...]  # in words; empty: it was as it should be

    @property
    def user(self) -> str:
        """The broker's name of it."""
        return self.login.user


async def provision_users(
    management_url: str,
    vhost: str,
    *,
    prefix: str = PREFIX,
    passwords: "Mapping[Role, str] | None" = None,
    rotate: "Collection[Role]" = (),
) -> list[Provisioned]:
    """Make every user of ours that is missing and bring the others in line; a second call changes nothing.

    A new user gets the password from `passwords`, or a generated one; so does one of `rotate`, whose old password is
    void from then on while its open connections stay. Raises `TopologyError`.
    """
    given = passwords or {}
    async with management_client(management_url) as client:
        return [
            await provision(
                client, vhost, user_name(role, prefix), rights, password=given.get(role), rotate=role in rotate
            )
            for role, rights in ROLES.items()
        ]


async def provision(
    client: "httpx.AsyncClient",
    vhost: str,
    user: str,
    rights: Rights,
    *,
    password: str | None = None,
    rotate: bool = False,
) -> Provisioned:
    """Make one user, or bring it in line. Its permissions in other virtual hosts are left alone."""
    changes: list[str] = []
    before = await call(client, "GET", "users", user, doing=f"reading user {user}", absent_is_none=True)
    new_password = None
    if before is None or rotate:
        new_password = password or secrets.token_urlsafe(_PASSWORD_BYTES)
        await _put_user(client, user, {"password": new_password, "tags": rights.tags})
        changes.append("created" if before is None else "password")
    elif _tags(before) != rights.tags:
        kept = {key: before[key] for key in ("password_hash", "hashing_algorithm")}
        await _put_user(client, user, {**kept, "tags": rights.tags})
        changes.append("tags")
    changes += await _permissions(client, vhost, user, rights)
    changes += await _topics(client, vhost, user, rights)
    changes += await _limits(client, user, rights)
    return Provisioned(BrokerLogin(user, new_password), before is None, tuple(changes))


async def remove_user(client: "httpx.AsyncClient", user: str) -> bool:
    """Delete a user and close its connections; return whether there was one."""
    if await call(client, "GET", "users", user, doing=f"reading user {user}", absent_is_none=True) is None:
        return False
    await call(client, "DELETE", "users", user, doing=f"deleting user {user}", absent_is_none=True)
    await close_connections(client, user)
    return True


async def close_connections(client: "httpx.AsyncClient", user: str) -> None:
    """Have the broker close whatever a user has open; clients that may come back do so by themselves.

    A connection that ends by itself meanwhile, as those of a deleted user do, makes the broker answer 500: it is asked
    again.
    """
    path, doing = ("connections", "username", user), f"closing the connections of {user}"
    for pause in _AGAIN_AFTER:
        try:
            await call(client, "DELETE", *path, doing=doing, absent_is_none=True)
        except TopologyError as error:
            if int(error.context.get("http_status") or 0) != httpx.codes.INTERNAL_SERVER_ERROR:
                raise
            await asyncio.sleep(pause)
        else:
            return
    await call(client, "DELETE", *path, doing=doing, absent_is_none=True)


async def delete_guest(management_url: str) -> bool:
    """Delete the user that every broker begins with; return whether there was one.

    Raises `TopologyError` when it is the one that `management_url` signs in as: somebody has to stay.
    """
    async with management_client(management_url) as client:
        if await call(client, "GET", "users", GUEST, doing="reading user guest", absent_is_none=True) is None:
            return False
        if unquote(urlsplit(management_url).username or GUEST) == GUEST:
            reason = (
                "guest is the user of RABBITMQ_MANAGEMENT_URL: add an administrator of your own, sign in as that one,"
                " and run this again; or keep it for now with --keep-guest"
            )
            raise TopologyError(SafeCode.TOPOLOGY_REFUSED, reason=reason)
        return await remove_user(client, GUEST)


async def _put_user(client: "httpx.AsyncClient", user: str, body: dict[str, Any]) -> None:
    await call(client, "PUT", "users", user, doing=f"writing user {user}", body=body)


def _tags(user: "Mapping[str, Any]") -> str:
    """Return the tags as one text; RabbitMQ before 3.9 says a text, later ones a list."""
    tags = user.get("tags", "")
    return tags if isinstance(tags, str) else ",".join(sorted(tags))


async def _permissions(client: "httpx.AsyncClient", vhost: str, user: str, rights: Rights) -> list[str]:
    doing = f"permissions of {user} in vhost {vhost}"
    now = await call(client, "GET", "permissions", vhost, user, doing=doing, absent_is_none=True) or {}
    if all(now.get(key) == value for key, value in rights.permissions.items()):
        return []
    await call(client, "PUT", "permissions", vhost, user, doing=doing, body=rights.permissions)
    return ["permissions"]


async def _topics(client: "httpx.AsyncClient", vhost: str, user: str, rights: Rights) -> list[str]:
    doing = f"topic permissions of {user} in vhost {vhost}"
    rows = await call(client, "GET", "topic-permissions", vhost, user, doing=doing, absent_is_none=True) or []
    now = {row["exchange"]: (row["write"], row["read"]) for row in rows}
    changed = False
    for wanted in rights.topic_permissions:
        if now.get(wanted["exchange"]) != (wanted["write"], wanted["read"]):
            await call(client, "PUT", "topic-permissions", vhost, user, doing=doing, body=wanted)
            changed = True
    return ["topic permissions"] if changed else []


async def _limits(client: "httpx.AsyncClient", user: str, rights: Rights) -> list[str]:
    doing = f"limits of {user}"
    rows = await call(client, "GET", "user-limits", user, doing=doing, absent_is_none=True) or []
    now = rows[0]["value"] if rows else {}
    changed = False
    for name, value in rights.limits.items():
        if now.get(name) != value:
            await call(client, "PUT", "user-limits", user, name, doing=doing, body={"value": value})
            changed = True
    return ["limits"] if changed else []
