"""One module per service; each turns settings into a `Service` and does nothing else when called."""

from foldline_local.artifacts import Layout
from foldline_local.config import Settings
from foldline_local.program import Service
from foldline_local.services import clickhouse, connect, elasticsearch, kafka, mongodb, postgres

_MODULES = {
    "postgres": postgres.service,
    "kafka": kafka.service,
    "mongodb": mongodb.service,
    "clickhouse": clickhouse.service,
    "elasticsearch": elasticsearch.service,
    "connect": connect.service,
}
NAMES = tuple(_MODULES)


def services(settings: Settings) -> list[Service]:
    """The services that this stack runs itself; those with a given address are left out."""
    layout = Layout(settings.cache)
    return [make(settings, layout) for name, make in _MODULES.items() if settings.is_local(name)]
