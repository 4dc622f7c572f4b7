"""What the dispatcher counts beside what every process counts; both are declared in `shared.runtime.metrics`."""

from prometheus_client import CollectorRegistry

from shared.runtime import metrics


class Metrics:
    """One set per app, so that two apps of a test do not add up."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.starts = metrics.STARTS.counter(self.registry)
        self.refusals = metrics.REFUSALS.counter(self.registry)
        self.requests = metrics.HTTP_SECONDS.histogram(self.registry)
        self.streams = metrics.STREAMS.gauge(self.registry)
        self.sign_ins_refused = metrics.SIGN_INS_REFUSED.counter(self.registry)
        self.swept = metrics.SWEPT.counter(self.registry)
