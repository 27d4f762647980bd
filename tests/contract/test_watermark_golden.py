"""The watermark on its topic, frozen: keepers of one version speak to projectors of another."""

from datetime import UTC, datetime, timedelta
from importlib.resources import files

from foldline_contracts import watermark
from foldline_contracts.watermark import Watermark

AS_OF = datetime(2026, 2, 28, 23, 59, 59, 123456, tzinfo=UTC)
WATERMARK = Watermark(
    as_of=AS_OF,
    published_at=AS_OF + timedelta(seconds=0.6),
    ends={"order-events": {"0": 7, "1": 0}},
    incarnation=1,
)
GOLDEN = (files("foldline_contracts") / "golden" / "watermark-1.json").read_bytes()


def test_the_writer_makes_the_file_byte_for_byte() -> None:
    assert watermark.encode(WATERMARK) == GOLDEN


def test_the_reader_understands_it() -> None:
    assert watermark.decode(GOLDEN) == WATERMARK
