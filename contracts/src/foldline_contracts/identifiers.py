"""What an identifier may look like, on every wire.

One pattern for aggregate ids, product ids and payment ids keeps them safe in URLs, Kafka keys,
tokens and store keys without any escaping.
"""

import re

PATTERN = r"^[A-Za-z0-9._~-]{1,64}$"
_IDENTIFIER = re.compile(PATTERN)


def is_identifier(text: str) -> bool:
    """Whether `text` is an opaque identifier: 1 to 64 characters of `[A-Za-z0-9._~-]`."""
    return _IDENTIFIER.fullmatch(text) is not None
