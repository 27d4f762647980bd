"""What an identifier may look like, on every wire.

One pattern for aggregate ids, product ids and payment ids keeps them safe in URLs, Kafka keys,
tokens and store keys without any escaping. `.` and `..` are none: HTTP clients take them out of a path.
"""

import re
from typing import Annotated

import msgspec

MAX_LENGTH = 64
PATTERN = rf"^(?!\.{{1,2}}$)[A-Za-z0-9._~-]{{1,{MAX_LENGTH}}}$"
#: What a client that sends something else is told.
RULE = f"must be 1 to {MAX_LENGTH} characters of A-Z a-z 0-9 . _ ~ -, and not . or .."
_IDENTIFIER = re.compile(PATTERN)

#: An identifier in an event. Only its length is looked at, which is what stores depend on: a pattern
#: would cost each event more than the rest of its decoding.
Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_LENGTH)]


def is_identifier(text: str) -> bool:
    """Whether `text` is an opaque identifier: 1 to 64 characters of `[A-Za-z0-9._~-]`, neither `.` nor `..`."""
    return _IDENTIFIER.fullmatch(text) is not None


def identifier(text: str) -> str:
    """`text`, if it is an identifier. Raises ValueError, whose message is the rule."""
    if not is_identifier(text):
        raise ValueError(RULE)
    return text
