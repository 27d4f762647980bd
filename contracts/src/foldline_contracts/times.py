"""RFC 3339 text in UTC with `Z`, as every wire of this product writes times."""

from datetime import UTC, datetime


def to_text(moment: datetime) -> str:
    """`moment` as RFC 3339 with microseconds and `Z`. Raises ValueError without a time zone."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone has no RFC 3339 text")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def from_text(text: str) -> datetime:
    """The moment that RFC 3339 `text` names, in UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"no time zone in {text!r}")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} is outside of the calendar in UTC") from error
