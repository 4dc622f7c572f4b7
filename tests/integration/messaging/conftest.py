from collections.abc import AsyncIterator

import pytest

from shared.contracts.names import ServiceName
from shared.messaging.publisher import ConfirmedPublisher
from shared.messaging.topology_admin import apply
from tests.support.rabbit import Rabbit


@pytest.fixture
async def rabbit(amqp_url: str, management_url: str) -> AsyncIterator[Rabbit]:
    """The test's vhost with the topology."""
    async with Rabbit(amqp_url, management_url) as rabbit:
        await apply(management_url, rabbit.vhost)
        yield rabbit


@pytest.fixture
async def publisher(rabbit: Rabbit) -> AsyncIterator[ConfirmedPublisher]:
    """The publisher of a restore worker."""
    async with ConfirmedPublisher(rabbit.amqp_url, ServiceName.RESTORE) as publisher:
        yield publisher
