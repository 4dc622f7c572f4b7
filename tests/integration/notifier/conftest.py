from collections.abc import AsyncIterator

import pytest
from sqlalchemy import insert

from services.notifier.settings import NotifierSettings
from shared.contracts.names import ServiceName
from shared.messaging.publisher import ConfirmedPublisher
from shared.messaging.topology_admin import apply
from shared.persistence.database import create_engine
from shared.persistence.tables import memberships, tenants, users
from shared.persistence.walls.roles import DbRole
from shared.runtime.ids import new_id
from tests.support.office import Office
from tests.support.rabbit import Rabbit
from tests.support.roles import as_role


@pytest.fixture
async def office(database_url: str, amqp_url: str, management_url: str) -> AsyncIterator[Office]:
    """One tenant with one person, who is told everything."""
    engine = create_engine(database_url, service="test")
    tenant, person = new_id(), new_id()
    async with engine.begin() as connection:
        await connection.execute(insert(tenants).values(id=tenant, external_id="c", name="Contoso", connector="folder"))
        await connection.execute(insert(users).values(id=person, email="ada@example.org", name="Ada"))
        await connection.execute(insert(memberships).values(tenant_id=tenant, user_id=person, role="operator"))
    async with (
        Rabbit(amqp_url, management_url) as rabbit,
        ConfirmedPublisher(amqp_url, ServiceName.BULK) as publisher,
    ):
        await apply(management_url, rabbit.vhost)
        settings = NotifierSettings(amqp_url=amqp_url, database_url=as_role(database_url, DbRole.NOTIFIER))
        yield Office(engine, rabbit, publisher, settings, tenant, person)
    await engine.dispose()
