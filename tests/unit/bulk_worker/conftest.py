import pytest

from shared.persistence.database import create_engine
from shared.persistence.unit_of_work import SqlUnitOfWork


@pytest.fixture
def dummy_uow() -> SqlUnitOfWork:
    """A unit of work that never connects: making one does nothing yet."""
    return SqlUnitOfWork(create_engine("postgresql://nobody@127.0.0.1:9/none", service="test"), service="test")
