"""What event streams can be told."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """Numbers of streams, and seconds. After `age` a stream ends, and whoever comes back is checked again."""

    at_once: int = 2_000
    per_tenant: int = 500
    interval: float = 0.25
    heartbeat: float = 15.0
    age: float = 600.0
    stalled_limit: float = 30.0
