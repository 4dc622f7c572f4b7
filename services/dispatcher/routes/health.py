"""For the platform: is it alive, may it get requests, what has it counted. Nobody signs in here."""

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict

from services.dispatcher.needs import OPEN
from shared.runtime.metrics import REGISTRY

if TYPE_CHECKING:
    from services.dispatcher.machinery import Machinery

router = APIRouter(tags=["platform"], dependencies=[OPEN])

_NEEDED = ("database", "schema", "tasks")  # without the broker, starts are taken and wait in the outbox


class HealthView(BaseModel):
    """Whether requests should come here, and how each part is: `ok`, `waiting`, `blocked` or `failed`.

    `degraded`: requests are taken, but nothing gets through to the broker, or from it.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "degraded",
                    "parts": {
                        "database": "ok",
                        "schema": "ok",
                        "outbox": "ok",
                        "relay": "blocked",
                        "consumer": "ok",
                        "tasks": "ok",
                    },
                }
            ]
        }
    )

    status: str
    parts: dict[str, str]


@router.get("/healthz", operation_id="getHealth")
async def healthz() -> HealthView:
    """Tell that the process answers."""
    return HealthView(status="ok", parts={})


@router.get("/readyz", operation_id="getReadiness", responses={503: {"model": HealthView, "description": "Not now"}})
async def readyz(request: Request, response: Response) -> HealthView:
    """Tell whether requests should come here."""
    machinery: Machinery = request.app.state.machinery
    parts = await machinery.health()
    is_ready = all(parts[name] == "ok" for name in _NEEDED)
    response.status_code = 200 if is_ready else 503
    works = "ok" if all(state == "ok" for state in parts.values()) else "degraded"
    return HealthView(status=works if is_ready else "failed", parts=dict(parts))


@router.get("/metrics", operation_id="getMetrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Give the counters in Prometheus' text format."""
    machinery: Machinery = request.app.state.machinery
    await machinery.vitals.look()
    counted = generate_latest(REGISTRY) + generate_latest(machinery.room.metrics.registry)
    return Response(counted, media_type=CONTENT_TYPE_LATEST)
