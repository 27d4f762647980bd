"""The root of the `foldline` command.

Each room registers its commands under the entry point group `foldline.commands`. A command is
imported only when it is called, so `foldline outbox keep` in an image with the command room's
extra works without the drivers of the other rooms, and a room that is not installed is simply absent.
"""

from importlib.metadata import EntryPoint, entry_points, version

import click

ENTRY_POINT_GROUP = "foldline.commands"


class _Rooms(click.Group):
    """A group whose commands are the installed entry points, loaded on use."""

    def _points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(self._points())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        point = self._points().get(cmd_name)
        if point is None:
            return None
        try:
            loaded = point.load()
        except ModuleNotFoundError as error:
            return _missing(cmd_name, point, error)
        assert isinstance(loaded, click.Command)
        return loaded


def _missing(name: str, point: EntryPoint, error: ModuleNotFoundError) -> click.Command:
    """A command that only says which part is not installed, so that help still lists the rest."""
    room = point.module.split(".")[0].removeprefix("foldline_")
    text = f"not installed here: needs {error.name}; install foldline[{room}]"

    def refuse() -> None:
        raise click.ClickException(text)

    return click.Command(name, callback=refuse, short_help=f"({text})")


@click.command(cls=_Rooms, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("foldline"), prog_name="foldline")
def main() -> None:
    """CQRS with Kafka: exact, rebuildable read models with freshness in every answer."""
