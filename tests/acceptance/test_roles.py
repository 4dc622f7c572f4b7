"""The walls in the database hold in the whole system: each service is there under its own role."""

from shared.persistence.walls.roles import DbRole
from tests.support.builders import World
from tests.support.rabbit import eventually
from tests.support.whole_system import Customer

_OF_SERVICE = {
    "reinstate-dispatcher": DbRole.DISPATCHER.value,
    "reinstate-restore": DbRole.RESTORE_WORKER.value,
    "reinstate-bulk": DbRole.BULK_WORKER.value,
    "reinstate-notifier": DbRole.NOTIFIER.value,
}


_SEEN = (
    "SELECT DISTINCT application_name AS service, usename::text AS role FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name <> 'reinstate-test'"
    " AND application_name LIKE 'reinstate-%'"
)


async def test_every_service_logs_in_as_its_own_role(world: World, customer: Customer) -> None:
    await customer.capture()  # a service connects with its first work

    async def all_are_there() -> bool:
        return {row["service"] for row in await world.rows(_SEEN)} == {*_OF_SERVICE}

    await eventually(all_are_there)
    assert {(row["service"], row["role"]) for row in await world.rows(_SEEN)} == set(_OF_SERVICE.items())
