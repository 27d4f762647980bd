"""What a process remembers of the reads that it served."""

from datetime import UTC, datetime, timedelta

from foldline_query.reads import Read, Reads

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(minute: int) -> datetime:
    return NOON + timedelta(minutes=minute)


def test_the_latest_come_first() -> None:
    reads = Reads(3)
    reads.note("/a", at(1))
    reads.note("/b", at(2))
    assert reads.latest(10) == [Read("/b", at(2)), Read("/a", at(1))]
    assert reads.latest(1) == [Read("/b", at(2))]


def test_a_path_stands_once_at_its_latest_read() -> None:
    reads = Reads(3)
    for minute, path in enumerate(["/a", "/b", "/a"]):
        reads.note(path, at(minute))
    assert reads.latest(10) == [Read("/a", at(2)), Read("/b", at(1))]


def test_no_more_are_kept_than_allowed() -> None:
    reads = Reads(2)
    for minute, path in enumerate(["/a", "/b", "/a", "/c"]):
        reads.note(path, at(minute))
    assert [each.path for each in reads.latest(10)] == ["/c", "/a"]


def test_none_are_kept_when_none_are_allowed() -> None:
    reads = Reads(0)
    reads.note("/a", NOON)
    assert reads.latest(10) == []
