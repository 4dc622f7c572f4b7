"""Every metric as a page: `python -m cli.metrics_reference > docs/reference/metrics.md`; a test keeps both together."""

import sys
from collections.abc import Iterator

from shared.runtime.metrics import CATALOGUE


def page() -> str:
    """Return the page as it is committed."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    yield "# Metrics"
    yield ""
    yield "Generated from `shared/runtime/metrics.py`; do not edit. To write it again:"
    yield "`python -m cli.metrics_reference > docs/reference/metrics.md`."
    yield ""
    yield "Prometheus' text format at `/metrics`: the dispatcher's on its own port, the others' on `HEALTH_PORT`."
    yield "No label is a tenant, a run or a person. Counters start at 0 with the process, and count what it did."
    yield "What to watch, and from which value on: [Watch the services](../how-to/watch-the-services.md)."
    yield ""
    yield "| name | kind | unit | labels | has it | meaning |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for one in CATALOGUE.values():
        labels = ", ".join(f"`{label}`" for label in one.labels)
        yield f"| `{one.name}` | {one.kind.value} | {one.unit} | {labels} | {one.of} | {one.meaning} |"


if __name__ == "__main__":
    sys.stdout.write(page())
