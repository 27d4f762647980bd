"""Reading configuration from the environment, the same way in every room.

A variable `FOLDLINE_X` may also be given as `FOLDLINE_X_FILE`, the path of a file that holds it
(a mounted secret). Anything missing or bad becomes one line that names the variable.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
D = TypeVar("D")
PREFIX = "FOLDLINE_"


class ConfigurationError(ValueError):
    """A variable is missing or bad; the message is one line that names it."""


class Environment:
    """Typed look-ups in a mapping such as `os.environ`. Names are given without the prefix."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str) -> str | None:
        """The raw value of `FOLDLINE_<name>` or of the file that `FOLDLINE_<name>_FILE` names."""
        variable = PREFIX + name
        value, path = self._environ.get(variable), self._environ.get(f"{variable}_FILE")
        if value and path:
            raise ConfigurationError(f"{variable} and {variable}_FILE are both set; give one")
        if path:
            try:
                value = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError(f"{variable}_FILE: cannot read {path}: {error}") from error
        return value or None

    def required(self, name: str) -> str:
        """The value, or ConfigurationError when it is missing."""
        value = self.text(name)
        if value is None:
            raise ConfigurationError(f"{PREFIX}{name} is not set")
        return value

    def get(self, name: str, convert: Callable[[str], T], default: D) -> T | D:
        """The converted value, or `default`. `convert` raises ValueError with the reason."""
        value = self.text(name)
        if value is None:
            return default
        try:
            return convert(value)
        except ValueError as error:
            raise ConfigurationError(f"{PREFIX}{name}={value!r} is not usable: {error}") from error


def positive_int(text: str) -> int:
    """A whole number above zero."""
    number = int(text)
    if number <= 0:
        raise ValueError("must be above 0")
    return number


def positive_float(text: str) -> float:
    """A finite number above zero."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError("must be above 0")
    return number
