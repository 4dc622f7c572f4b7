from collections.abc import AsyncIterator

import pytest

from tests.support.bulk_lab import BulkLab, bulk_lab


@pytest.fixture
async def bulk(database_url: str) -> AsyncIterator[BulkLab]:
    async with bulk_lab(database_url) as opened:
        yield opened
