"""Metrics of the query service, and their exposition over all worker processes."""

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
    multiprocess,
)

from foldline_query.freshness import Freshness

REQUESTS = Counter(
    "foldline_query_requests_total", "Requests by route and status.", ["route", "status"]
)
SECONDS = Histogram(
    "foldline_query_seconds",
    "Time to answer, waits included.",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
WAIT_SECONDS = Histogram(
    "foldline_query_wait_seconds",
    "Time that requests with tokens waited for the read model.",
    ["projection", "outcome"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
STALE = Counter(
    "foldline_query_stale_total", "Answers that said they were stale.", ["route", "reason"]
)

CONTENT_TYPE = CONTENT_TYPE_LATEST


def count_stale(route: str, freshness: Freshness) -> None:
    """Counts an answer that says it is stale."""
    if freshness.stale:
        STALE.labels(route, freshness.reason or "").inc()


def exposition(directory: str | None) -> bytes:
    """All metrics as text; `directory` is where the processes of a service share them."""
    if directory is None:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=directory)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
