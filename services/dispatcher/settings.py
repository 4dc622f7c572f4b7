"""Settings of the dispatcher, from the environment."""

from pydantic import Field

from shared.runtime.settings import ServiceSettings

MAX_BODY = 8 * 1024 * 1024  # bytes; an explicit selection of 100,000 ids is 3.9 MB
MAX_REQUESTS = 128  # of which as many work as there are database connections; the others wait for one


class DispatcherSettings(ServiceSettings):
    """Validated at start."""

    dispatcher_prefetch: int = Field(
        default=8, ge=1, le=100, description="commands in work at a time; below the pool's size"
    )
    dispatcher_pool_size: int = Field(default=16, ge=2, le=100, description="database connections")
    dispatcher_max_body: int = Field(default=MAX_BODY, ge=1024, description="bytes of one request, at most")
    dispatcher_requests_at_once: int = Field(
        default=MAX_REQUESTS,
        ge=1,
        le=100_000,
        description="requests to /v1 in work; one more is answered 503 with Retry-After, and nothing is stored",
    )
    dispatcher_sweep_interval: float = Field(
        default=4, gt=0, le=86400, description="seconds between two sweeps, give or take"
    )
    dispatcher_wake_after: float = Field(
        default=60, gt=0, le=86400, description="an idle run is woken again after this long"
    )
    dispatcher_wait_grace: float = Field(default=5, gt=0, le=86400, description="how late a delayed wake-up may be")
    dispatcher_abort_grace: float = Field(
        default=30,
        gt=0,
        le=86400,
        description="a worker's time to stop; then an aborted run nobody holds is ended",
    )
    dispatcher_dead_letter_interval: float = Field(
        default=10, gt=0, le=86400, description="seconds between two looks at the depth of the dead queues"
    )
