"""The full CDNOW log through the whole pipeline: daily statistics equal the file's own sums."""

import subprocess
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from support.eventually import eventually

from foldline_local.applications import command_line
from foldline_local.artifacts import Layout
from foldline_local.demo import sums_by_day
from foldline_local.testing import RunningStack

from .conftest import Client

pytestmark = pytest.mark.e2e


def import_log(pipeline: RunningStack, path: Path, dataset: str) -> None:
    argv = ("foldline", "import", "orders", str(path), "--dataset", dataset, "--format", "cdnow")
    subprocess.run(command_line(argv), env=pipeline.environment, check=True)


@pytest.mark.timeout(1200)
def test_daily_statistics_equal_the_sums_of_the_log(client: Client, pipeline: RunningStack) -> None:
    path = Layout(pipeline.settings.cache).cdnow / "CDNOW_master.txt"
    expected = sums_by_day(path)
    url = f"/stats/daily?from={min(expected)}&to={max(expected)}&currency=USD"
    import_log(pipeline, path, "cdnow")
    imported = datetime.now(UTC)

    # So that no backlog is left to the tests that follow.
    eventually(lambda: client.has_caught_up(imported), within=600)
    days = client.read(url)["days"]
    answered = {day["date"]: (day["orderCount"], Decimal(day["totalRevenue"])) for day in days}
    assert answered == expected
    assert sum(count for count, _ in answered.values()) == 69_659

    import_log(pipeline, path, "cdnow")  # again: every line is already there
    assert client.read(url)["days"] == days
