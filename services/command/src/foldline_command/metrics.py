"""Metrics of the command service, and their exposition over all worker processes."""

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
    multiprocess,
)

REQUESTS = Counter(
    "foldline_command_requests_total", "Commands by kind and status.", ["command", "status"]
)
SECONDS = Histogram(
    "foldline_command_seconds",
    "Time from request to answer.",
    ["command"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

CONTENT_TYPE = CONTENT_TYPE_LATEST


def exposition(directory: str | None) -> bytes:
    """All metrics as text; `directory` is where the processes of a service share them."""
    if directory is None:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=directory)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
