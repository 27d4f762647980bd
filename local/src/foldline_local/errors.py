"""The one error that a user of this room sees: a single line that says what to do."""


class LocalError(Exception):
    """Something on this machine stands in the way; the message is one complete line for the user."""
