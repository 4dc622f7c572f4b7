"""What can be set about a simulator."""

import hashlib
import uuid
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_NAMESPACE = uuid.UUID("5f0c2a3e-52a1-4a55-9d0e-5f7d3d5f9c11")


class SimulatorSettings(BaseModel):
    """All settings of one simulator process. Two with equal settings answer the same requests alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    """Address to listen on; the admin API answers loopback callers only, whatever this is."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """TCP port; 0 takes a free one."""
    tenants: Annotated[int, Field(ge=0, le=10_000)] = 3
    """Tenants made at the start; more can be made through the admin API."""
    seed: int = 1
    """Decides ids, secrets, jitter and the order of batch answers."""
    journal: Path | None = None
    """File that every request is appended to; None keeps the journal in memory only."""
    ready_file: Path | None = None
    """File that gets the address and the sign-in data once the simulator listens; readable by its owner only."""
    sample: bool = False
    """Load the built-in sample policies into the first tenant."""
    load: Path | None = None
    """Folder of exported policies to load into the first tenant."""
    client_id: str = ""
    """App registration known in every tenant; made from the seed when empty."""
    client_secret: str = ""
    """Its secret; made from the seed when empty. It opens nothing but this simulator."""
    token_lifetime_s: Annotated[int, Field(ge=1)] = 3599
    """Seconds until a token expires."""
    throttle_scale: Annotated[float, Field(ge=0)] = 0.0
    """Multiplies Graph's published request limits; 0 turns throttling off."""
    latency_ms: Annotated[float, Field(ge=0)] = 0.0
    """Mean time that a request to Graph takes, in milliseconds."""
    latency_jitter: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Latency varies evenly by this share of the mean, up and down."""
    shuffle_batches: bool = True
    """Answer the members of a `$batch` in an order of the seed's choosing, as Graph keeps none."""

    @property
    def app_id(self) -> str:
        """The client id in force."""
        return self.client_id or str(uuid.uuid5(_NAMESPACE, f"app {self.seed}"))

    @property
    def app_secret(self) -> str:
        """The client secret in force."""
        return self.client_secret or hashlib.sha256(f"secret {self.seed}".encode()).hexdigest()[:40]

    def tenant_id(self, number: int) -> uuid.UUID:
        """The id of the n-th tenant, counted from 1."""
        return uuid.uuid5(_NAMESPACE, f"tenant {self.seed} {number}")
