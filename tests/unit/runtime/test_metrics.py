"""The catalogue of metrics: its page, and the rules of its names and labels."""

from pathlib import Path

from cli.metrics_reference import page
from services.dispatcher.metrics import Metrics
from shared.runtime.metrics import CATALOGUE, REGISTRY, Kind

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "metrics.md"
UNBOUNDED = {"tenant", "tenant_id", "run", "run_id", "item_id", "user", "user_id", "queue_message", "worker", "owner"}


def test_the_page_of_metrics_is_what_the_code_declares() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m cli.metrics_reference"


def test_every_metric_that_is_scraped_stands_in_the_catalogue() -> None:
    scraped = {
        sample.name.removesuffix("_created") if sample.name.endswith("_created") else family.name
        for registry in (REGISTRY, Metrics().registry)
        for family in registry.collect()
        for sample in family.samples
    } | {family.name for registry in (REGISTRY, Metrics().registry) for family in registry.collect()}

    assert {name.removesuffix("_total") for name in scraped} == {name.removesuffix("_total") for name in CATALOGUE}


def test_names_tell_product_and_unit_and_counters_end_in_total() -> None:
    for metric in CATALOGUE.values():
        assert metric.name.startswith("reinstate_"), metric
        assert (metric.kind is Kind.COUNTER) == metric.name.endswith("_total"), metric
        assert ("_seconds" in metric.name) == (metric.unit == "seconds"), metric
        assert metric.meaning, metric


def test_no_label_is_without_bound() -> None:
    assert [metric.name for metric in CATALOGUE.values() if UNBOUNDED & set(metric.labels)] == []
