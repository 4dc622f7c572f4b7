"""What the broker answers while the connections that it shall close end by themselves."""

import httpx
import pytest

from shared.messaging.broker_users import close_connections
from shared.messaging.management import TopologyError


def answering(*codes: int) -> tuple[httpx.AsyncClient, list[str]]:
    """A management API that gives these answers; which moment brings a 500 cannot be chosen at a real one."""
    left, asked = list(codes), []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.path}")
        return httpx.Response(left.pop(0))

    return httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://broker"), asked


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.messaging.broker_users._AGAIN_AFTER", (0, 0, 0))


@pytest.mark.parametrize("codes", [(204,), (404,), (500, 204), (500, 500, 500, 404)])
async def test_it_is_asked_again_until_they_are_gone(codes: tuple[int, ...]) -> None:
    client, asked = answering(*codes)
    await close_connections(client, "upstream-crm")
    assert asked == ["DELETE /api/connections/username/upstream-crm"] * len(codes)


@pytest.mark.parametrize("codes", [(403,), (500, 500, 500, 500)])
async def test_a_refusal_that_stays_is_said(codes: tuple[int, ...]) -> None:
    client, _ = answering(*codes)
    with pytest.raises(TopologyError) as refused:
        await close_connections(client, "upstream-crm")
    assert refused.value.context["http_status"] == codes[-1]
