import pytest

from services.bulk_worker.listing import list_type
from services.bulk_worker.operations.catalogue import bulk_works
from shared.connectors.port import CallTag
from shared.domain.errors import PermanentError, RunFatalError, SafeCode
from shared.domain.operations import OPERATIONS
from shared.domain.runs import RunType
from shared.persistence.unit_of_work import SqlUnitOfWork
from tests.support.fake_tenant import DEFAULT_TYPE, FakeTenant


async def test_a_missing_permission_for_one_collection_is_no_reason_to_end_the_run() -> None:
    tenant = FakeTenant()
    tenant.fail("list", DEFAULT_TYPE, RunFatalError(SafeCode.AUTH_PERMISSION_MISSING, http_status=403))
    with pytest.raises(PermanentError) as caught:
        await list_type(tenant, DEFAULT_TYPE, CallTag())
    assert caught.value.code is SafeCode.AUTH_PERMISSION_MISSING
    assert caught.value.context == {"http_status": 403, "policy_type": DEFAULT_TYPE}


async def test_a_revoked_sign_in_ends_the_run() -> None:
    tenant = FakeTenant()
    tenant.fail("list", DEFAULT_TYPE, RunFatalError(SafeCode.AUTH_TOKEN_INVALID))
    with pytest.raises(RunFatalError):
        await list_type(tenant, DEFAULT_TYPE, CallTag())


def test_every_bulk_operation_has_its_work(dummy_uow: SqlUnitOfWork) -> None:
    bulk = {name for name, operation in OPERATIONS.items() if operation.run_type is RunType.BULK}
    assert bulk_works(dummy_uow, FakeTenant()).keys() == bulk
