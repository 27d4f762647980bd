"""What the room's commands share: one line for an error, and the exit status that tells its kind."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from foldline_contracts.config import ConfigurationError
from foldline_projector.inspection import Failed
from foldline_projector.projection import Projection
from foldline_projector.projection import projections as installed


class Usage(click.ClickException):
    """One line, exit status 2."""

    exit_code = 2


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns what a user can mend into one line and an exit status."""
    try:
        yield
    except ConfigurationError as error:
        raise Usage(str(error)) from error
    except Failed as error:
        raise click.ClickException(str(error)) from error


def the_projection(name: str) -> Projection:
    """An installed projection by name."""
    found = installed().get(name)
    if found is None:
        raise Usage(f"there is no projection {name!r}; there are: {', '.join(sorted(installed()))}")
    return found
