"""What the dispatcher counts, by names with unit; labels are words of ours, never tenants or ids."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """One set per app, so that two apps of a test do not add up."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.starts = Counter(
            "reinstate_starts", "Starts by what came of them", ("door", "operation", "outcome"), registry=self.registry
        )
        self.refusals = Counter(
            "reinstate_refusals",
            "Requests and commands refused, by safe code",
            ("door", "code"),
            registry=self.registry,
        )
        self.requests = Histogram(
            "reinstate_http_request_seconds",
            "HTTP requests by route and status",
            ("method", "route", "status"),
            registry=self.registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5),
        )
        self.swept = Counter(
            "reinstate_swept_runs", "Runs the sweeper woke or ended, by why", ("need",), registry=self.registry
        )
        self.relayed = Gauge(
            "reinstate_relay_rows",
            "Outbox rows of this process since its start, by what came of them",
            ("outcome",),
            registry=self.registry,
        )
