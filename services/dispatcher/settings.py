"""Settings of the dispatcher, from the environment."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from services.dispatcher.anchoring import signing_key
from services.dispatcher.console.settings import ConsoleSettings
from services.dispatcher.rates import RateLimits
from services.dispatcher.signature_settings import SignedCommandSettings
from services.dispatcher.streams.settings import StreamSettings
from shared.keys.settings import KeySettings

MAX_BODY = 8 * 1024 * 1024  # bytes; an explicit selection of 100,000 ids is 3.9 MB
MAX_IMPORT = 64 * 1024 * 1024  # bytes of an archive; a tenant with 2,000 policies makes about 3 MB
MAX_REQUESTS = 128  # of which as many work as there are database connections; the others wait for one


class DispatcherSettings(ConsoleSettings, SignedCommandSettings, KeySettings):
    """Validated at start."""

    dispatcher_prefetch: int = Field(
        default=64, ge=1, le=100, description="commands in work at a time; those that come together share a transaction"
    )
    dispatcher_pool_size: int = Field(default=16, ge=2, le=100, description="database connections")
    dispatcher_max_body: int = Field(default=MAX_BODY, ge=1024, description="bytes of one request, at most")
    dispatcher_max_import: int = Field(
        default=MAX_IMPORT, ge=1024, description="bytes of an archive that is imported, at most"
    )
    dispatcher_imports_at_once: int = Field(
        default=2,
        ge=1,
        le=100,
        description="archives taken in at a time; one more is answered 503 with Retry-After, and nothing is stored",
    )
    dispatcher_requests_at_once: int = Field(
        default=MAX_REQUESTS,
        ge=1,
        le=100_000,
        description="requests to /v1 in work; one more is answered 503 with Retry-After, and nothing is stored",
    )
    dispatcher_caller_rate: float = Field(
        default=1_000,
        ge=0,
        description="requests to /v1 a second of one caller, on average; more are answered 429. 0: no limit",
    )
    dispatcher_tenant_rate: float = Field(
        default=2_000,
        ge=0,
        description="requests and commands a second about one tenant; more are answered 429, or wait. 0: no limit",
    )
    dispatcher_upstream_rate: float = Field(
        default=5_000, ge=0, description="commands a second of one user of the broker; more wait. 0: no limit"
    )
    dispatcher_rate_burst: float = Field(
        default=2, gt=0, le=3600, description="seconds' worth of a rate that who was quiet may use at once"
    )
    dispatcher_active_runs_per_tenant: int = Field(
        default=20_000,
        ge=0,
        description="queued and running runs of one tenant; starts of more are answered 429, or wait. 0: no limit",
    )
    dispatcher_statement_limit: float = Field(
        default=15, gt=0, le=60, description="seconds after which the database gives a statement up"
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
    dispatcher_streams: int = Field(
        default=2_000, ge=0, le=100_000, description="open event streams; one more is answered 503 with Retry-After"
    )
    dispatcher_streams_per_tenant: int = Field(
        default=500, ge=0, le=100_000, description="the same for the runs of one tenant"
    )
    dispatcher_stream_interval: float = Field(
        default=0.25, gt=0, le=60, description="seconds between two looks at the runs that somebody watches"
    )
    dispatcher_stream_heartbeat: float = Field(
        default=15, gt=0, le=3600, description="seconds between two heartbeats of an event stream"
    )
    dispatcher_stream_age: float = Field(
        default=600,
        gt=0,
        le=86400,
        description="seconds after which an event stream ends; its reader comes back, goes on and is checked anew",
    )
    dispatcher_stalled_limit: float = Field(
        default=30, gt=0, le=3600, description="a caller that takes nothing of its answer for so long is dropped"
    )

    audit_anchor_interval: float = Field(
        default=3600,
        gt=0,
        le=86400,
        description="seconds between two anchors of the audit trails' heads, which are log lines of the level INFO",
    )
    audit_anchor_file: Path | None = Field(
        default=None, description="a file to which anchors are appended, too; on a disk of its own, or one written once"
    )
    audit_signing_key: Annotated[SecretStr, AfterValidator(signing_key)] | None = Field(
        default=None, description="signs those anchors: the private key that `reinstate audit keygen` printed"
    )

    @property
    def rates(self) -> RateLimits:
        """The part that is about rates; each process counts for itself."""
        return RateLimits(
            caller=self.dispatcher_caller_rate,
            upstream=self.dispatcher_upstream_rate,
            tenant=self.dispatcher_tenant_rate,
            burst=self.dispatcher_rate_burst,
        )

    @property
    def streams(self) -> StreamSettings:
        """The part that is about event streams."""
        return StreamSettings(
            at_once=self.dispatcher_streams,
            per_tenant=self.dispatcher_streams_per_tenant,
            interval=self.dispatcher_stream_interval,
            heartbeat=self.dispatcher_stream_heartbeat,
            age=self.dispatcher_stream_age,
            stalled_limit=self.dispatcher_stalled_limit,
        )
