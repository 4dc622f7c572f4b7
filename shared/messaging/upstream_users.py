"""The broker's users of upstream systems, for whoever keeps the list of upstreams."""

from collections.abc import Collection, Iterable

from shared.contracts.names import CommandKey
from shared.domain.operations import OPERATIONS
from shared.domain.runs import RunType
from shared.messaging.broker_users import Provisioned, close_connections, provision, remove_user
from shared.messaging.management import management_client
from shared.messaging.rights import upstream_of, upstream_rights, upstream_user

__all__ = ["command_keys_of", "provision_upstream", "remove_upstream", "upstream_of", "upstream_user"]

_STARTS = {
    RunType.RESTORE: CommandKey.START_RESTORE_RUN,
    RunType.BULK: CommandKey.START_BULK_OPERATION_RUN,
}


def command_keys_of(operations: Iterable[str]) -> frozenset[CommandKey]:
    """Return the commands that a system needs which may start these operations (`restore.execute`) and abort them.

    Raises `KeyError` for an operation that does not exist.
    """
    starts = frozenset(_STARTS[OPERATIONS[name].run_type] for name in operations)
    return starts | {CommandKey.ABORT_RUN} if starts else starts


async def provision_upstream(
    management_url: str,
    vhost: str,
    name: str,
    commands: Collection[CommandKey],
    *,
    password: str | None = None,
    rotate: bool = False,
) -> Provisioned:
    """Make the broker's user `upstream-<name>`, or bring it in line: it may publish these commands, and nothing else.

    `result.login.password` is there only when this call set one: for a new user, and with `rotate`. `password` is used
    then instead of a generated one. After a rotation open connections stay; the old password opens no new ones. Raises
    `ValueError` for a bad name and `TopologyError` when the broker refuses or does not answer.
    """
    user = upstream_user(name)
    async with management_client(management_url) as client:
        return await provision(client, vhost, user, upstream_rights(commands), password=password, rotate=rotate)


async def remove_upstream(management_url: str, name: str) -> bool:
    """Delete the broker's user of an upstream and close its connections; return whether there was one.

    Raises as `provision_upstream` does.
    """
    user = upstream_user(name)
    async with management_client(management_url) as client:
        existed = await remove_user(client, user)
        await close_connections(client, user)
        return existed
