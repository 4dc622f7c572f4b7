"""Every metric of Reinstate, declared once: by names with units, with labels that are words of ours.

Never a tenant, a run or a person as a label: their number has no bound. A metric that is declared with `_counter`,
`_gauge` or `_histogram` belongs to the process; `Declared` ones are made per registry by whoever owns them.
`docs/reference/metrics.md` is generated from `CATALOGUE`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY: Final = CollectorRegistry()


class Kind(StrEnum):
    """What a number does."""

    COUNTER = "counter"  # only grows
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One entry of the catalogue. `name` is as it is scraped; a histogram adds `_bucket`, `_sum` and `_count`."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()
    of: str = "every service"
    buckets: tuple[float, ...] = ()

    def counter(self, registry: CollectorRegistry) -> Counter:
        """Make it in a registry."""
        return Counter(self.name, self.meaning, self.labels, registry=registry)

    def gauge(self, registry: CollectorRegistry) -> Gauge:
        """Make it in a registry."""
        return Gauge(self.name, self.meaning, self.labels, registry=registry)

    def histogram(self, registry: CollectorRegistry) -> Histogram:
        """Make it in a registry."""
        return Histogram(self.name, self.meaning, self.labels, registry=registry, buckets=self.buckets)


CATALOGUE: Final[dict[str, Metric]] = {}


def _declared(metric: Metric) -> Metric:
    if metric.name in CATALOGUE:
        raise ValueError(f"{metric.name} is declared twice")
    CATALOGUE[metric.name] = metric
    return metric


def _counter(name: str, unit: str, meaning: str, *labels: str, of: str) -> Counter:
    return _declared(Metric(name, Kind.COUNTER, unit, meaning, labels, of)).counter(REGISTRY)


def _gauge(name: str, unit: str, meaning: str, *labels: str, of: str) -> Gauge:
    return _declared(Metric(name, Kind.GAUGE, unit, meaning, labels, of)).gauge(REGISTRY)


def _histogram(name: str, meaning: str, *labels: str, of: str, buckets: tuple[float, ...]) -> Histogram:
    return _declared(Metric(name, Kind.HISTOGRAM, "seconds", meaning, labels, of, buckets)).histogram(REGISTRY)


_ALL = "every service"
_WORKERS = "workers"

# Runs and items.
RUNS_STARTED: Final = _counter(
    "reinstate_runs_started_total", "runs", "Runs that a worker took up for the first time", "operation", of=_WORKERS
)
RUNS_FINISHED: Final = _counter(
    "reinstate_runs_finished_total",
    "runs",
    "Runs that ended, by their last status",
    "operation",
    "outcome",
    of="workers; the dispatcher for runs that its sweeper ended",
)
RUN_SECONDS: Final = _histogram(
    "reinstate_run_duration_seconds",
    "From a run's creation to its end",
    "operation",
    of=_WORKERS,
    buckets=(1, 5, 15, 60, 300, 900, 3600, 14400),
)
SLICE_SECONDS: Final = _histogram(
    "reinstate_slice_seconds",
    "One turn of one run, from the lease to its return",
    "operation",
    of=_WORKERS,
    buckets=(0.05, 0.1, 0.5, 1, 5, 10, 20, 30, 60),
)
ITEMS: Final = _counter(
    "reinstate_items_total", "items", "Items that ended, by outcome", "operation", "outcome", of=_WORKERS
)
ITEM_ATTEMPTS: Final = _counter(
    "reinstate_item_attempts_total", "attempts", "Items taken up, repetitions included", "operation", of=_WORKERS
)

# Ownership.
LEASES_LOST: Final = _counter(
    "reinstate_leases_lost_total",
    "slices",
    "Slices that ended early because their run was not theirs any more",
    "service",
    of=_WORKERS,
)
FENCED_WRITES: Final = _counter(
    "reinstate_fenced_writes_total",
    "writes",
    "Writes to the ledger that were refused because their lease was not in force",
    "service",
    of=_WORKERS,
)
TAKEOVERS: Final = _counter(
    "reinstate_takeovers_total",
    "takeovers",
    "Runs taken over: `redelivered` under the wake-up of a holder that died, `lapsed` after its lease ended",
    "how",
    of=_WORKERS,
)
DUPLICATES: Final = _counter(
    "reinstate_duplicates_suppressed_total",
    "messages",
    "Messages without effect: `inbox` was taken before, `wake_up` found its run held or over",
    "where",
    of=_ALL,
)

MESSAGES: Final = _counter(
    "reinstate_messages_total",
    "messages",
    "Deliveries by what came of them: `done`, `retried`, `deferred`, `parked`, `dead`, `left` to another owner;"
    " with the safe code",
    "service",
    "outcome",
    "reason",
    of=_ALL,
)

# The way out.
OUTBOX_AGE: Final = _gauge(
    "reinstate_outbox_oldest_unsent_seconds",
    "seconds",
    "Age of this service's oldest message that is due and not yet with the broker; NaN when the database is silent",
    "service",
    of=_ALL,
)
RELAYED: Final = _counter(
    "reinstate_relayed_rows_total",
    "messages",
    "Outbox rows by what came of them: `published`, `postponed` or `refused`, and why: `none`, `timeout`, `refused` (by"
    " the broker), `connection`, `unroutable`, `too_large` or `other`",
    "outcome",
    "reason",
    of=_ALL,
)

# The broker, as this process sees it.
CONSUMING: Final = _gauge(
    "reinstate_consuming", "1 or 0", "Whether the broker has every consumer of this process", "service", of=_ALL
)
PUBLISHER_BLOCKED: Final = _gauge(
    "reinstate_publisher_blocked",
    "1 or 0",
    "Whether the broker takes nothing from this process because of a resource alarm",
    "service",
    of=_ALL,
)

# The tenant's system.
GRAPH_REQUESTS: Final = _counter(
    "reinstate_graph_requests_total",
    "requests",
    "Requests to Microsoft Graph by class of status: `2xx` to `5xx`, `none` without an answer",
    "status_class",
    of=_WORKERS,
)
THROTTLED_SECONDS: Final = _counter(
    "reinstate_throttled_seconds_total",
    "seconds",
    "Waits that a tenant's system asked runs for",
    "operation",
    of=_WORKERS,
)

# The dispatcher's own: one set per application, so that two of a test do not add up.
_FRONT_DOOR = "dispatcher"
STARTS: Final = _declared(
    Metric(
        "reinstate_starts_total",
        Kind.COUNTER,
        "starts",
        "Starts by what came of them",
        ("door", "operation", "outcome"),
        _FRONT_DOOR,
    )
)
REFUSALS: Final = _declared(
    Metric(
        "reinstate_refusals_total",
        Kind.COUNTER,
        "starts",
        "Requests and commands refused, by safe code",
        ("door", "code"),
        _FRONT_DOOR,
    )
)
HTTP_SECONDS: Final = _declared(
    Metric(
        "reinstate_http_request_seconds",
        Kind.HISTOGRAM,
        "seconds",
        "HTTP requests by route and status",
        ("method", "route", "status"),
        _FRONT_DOOR,
        (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5),
    )
)
STREAMS: Final = _declared(
    Metric("reinstate_event_streams", Kind.GAUGE, "streams", "Open event streams of runs", of=_FRONT_DOOR)
)
SWEPT: Final = _declared(
    Metric(
        "reinstate_swept_runs_total",
        Kind.COUNTER,
        "runs",
        "Runs the sweeper woke or ended, by why",
        ("need",),
        _FRONT_DOOR,
    )
)
SIGN_INS_REFUSED: Final = _declared(
    Metric(
        "reinstate_sign_ins_refused_total",
        Kind.COUNTER,
        "requests",
        "Requests of nobody who is signed in, by what was wrong: `malformed`, `algorithm`, `key`, `signature`,"
        " `claims`, `time`, `unknown` (a good token of nobody of ours) or `service` (a service token of nobody)",
        ("reason",),
        _FRONT_DOOR,
    )
)
