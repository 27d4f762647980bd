"""The commands: `python -m foldline_local up`, or `foldline local up` where the command line is installed."""

import shlex
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

import click

from foldline_local import jars
from foldline_local.artifacts import Layout, install
from foldline_local.config import from_environment, without_password
from foldline_local.demo import Demo
from foldline_local.errors import LocalError
from foldline_local.stack import Stack


class Commands(click.Group):
    """Turns the room's one error into one line on standard error and exit status 1."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except LocalError as error:
            raise click.ClickException(str(error)) from error
        except BrokenPipeError:  # the reader of our output has gone, which click ends quietly
            raise
        except OSError as error:  # a full disk, a folder that is not ours: the system's own words
            place = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{place}{error.strerror or error}") from error


@click.group(cls=Commands)
def local() -> None:
    """Run the real services and Foldline on this machine."""


@local.command()
def setup() -> None:
    """Install what the services are made of into the user's cache."""
    settings = from_environment()
    install(Layout(settings.cache), _report)
    click.echo(f"installed in {settings.cache}")


@local.command()
@click.option(
    "--services-only", is_flag=True, help="Only the six services, without Foldline's own processes."
)
def up(services_only: bool) -> None:
    """Start everything and return when it serves."""
    settings = from_environment()
    Stack(settings, _report).up(services_only=services_only)
    click.echo(f"data and logs in {settings.directory}")


@local.command()
def demo() -> None:
    """Place orders through the running pipeline and read them back from every store."""
    Demo(from_environment()).run()


@local.command()
@click.option("--wipe", is_flag=True, help="Remove the data as well.")
def down(wipe: bool) -> None:
    """Stop everything; the data stays."""
    Stack(from_environment(), _report).down(wipe=wipe)


@local.command()
def status() -> None:
    """Show each process; exit status 1 unless all that were started are running."""
    settings = from_environment()
    stack = Stack(settings, _report)
    states = stack.states()
    if home := stack.foreign_home():
        click.echo(f"this stack runs from {home}")
    for service in stack.known():
        state = states.get(service.name)
        word = state.state.lower() if state else "not started"
        detail = f"pid {state.pid}, up {state.seconds} s" if state and state.pid else ""
        click.echo(f"{service.name:<26}{word:<13}{service.program.address:<24}{detail}".rstrip())
    for name, value in settings.given.items():
        click.echo(f"{name} is given: {without_password(value)}")
    if not states or not all(state.is_alive for state in states.values()):
        sys.exit(1)


@local.command()
@click.argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="Keep printing what is added.")
@click.option("-n", "--lines", default=50, show_default=True)
def logs(name: str | None, follow: bool, lines: int) -> None:
    """Print the end of a process's log, or of all of them."""
    folder = from_environment().logs
    found = sorted(folder.glob("*.log")) if name is None else [folder / f"{name}.log"]
    if not found or not all(path.exists() for path in found):
        have = ", ".join(sorted(path.stem for path in folder.glob("*.log"))) or "none"
        raise LocalError(
            f"there is no log of {name or 'any process'} in {folder}; there are: {have}"
        )
    command = ["tail", f"--lines={lines}", *(["--follow=name"] if follow else []), *map(str, found)]
    sys.exit(subprocess.run(command, check=False).returncode)


@local.command()
def env() -> None:
    """Print the environment that points Foldline at this stack, for `eval`."""
    for name, value in from_environment().addresses().items():
        click.echo(f"export {name}={shlex.quote(value)}")


@local.command(hidden=True)
def lock() -> None:
    """Resolve the jars afresh and rewrite the locks, after a version was changed in the source."""
    folder = Path(str(files("foldline_local") / "locks"))
    for bundle in jars.BUNDLES:
        with tempfile.TemporaryDirectory() as work:
            (folder / f"{bundle.name}.lock").write_text(jars.resolve(bundle, Path(work)))
        click.echo(f"locked {bundle.name}")


def _report(name: str, event: str, seconds: float) -> None:
    click.echo(f"{name:<26}{event:<44}{seconds:6.1f} s")


def main() -> None:
    """Run the group by itself, without the `foldline` command around it."""
    local(prog_name="foldline-local")
