from collections.abc import Iterator

import pytest

from tests.support.fake_api import FakeApi, serving


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """An API on a real port, and an environment that leads there."""
    with serving(FakeApi()) as api:
        monkeypatch.setenv("REINSTATE_URL", api.url)
        monkeypatch.setenv("REINSTATE_TOKEN", "s3cret-token")
        monkeypatch.setenv("REINSTATE_TENANT", "0198c0de-0000-7000-8000-000000000001")
        yield api
