"""The docs name everything that a user can set, call or scrape, and nothing that is gone."""

import ast
import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
METRICS = {"Counter", "Gauge", "Histogram"}
#: Helpers of the projector that prefix the name.
PREFIXED = {"_family"}
SOURCES = [
    path
    for room in ("contracts", "services", "local", "cli")
    for path in sorted((ROOT / room).rglob("*.py"))
]
CONFIGURATION = (DOCS / "configuration.md").read_text()


def calls() -> Iterator[tuple[str, str]]:
    """Every call with a string as its first argument: the function's last name and the string."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                name = getattr(node.func, "attr", None) or getattr(node.func, "id", "")
                yield name, first.value


def literals() -> set[str]:
    """Every FOLDLINE_ variable that the sources spell out."""
    found: set[str] = set()
    for path in SOURCES:
        found.update(re.findall(r"\bFOLDLINE_[A-Z][A-Z0-9_]*[A-Z0-9]\b", path.read_text()))
    return found


def variables() -> set[str]:
    pattern = r'\b(?:env|environment)\.(?:text|required|get)\(\s*"([A-Z][A-Z0-9_]+)"'
    found = {name for name in literals() if not name.endswith("_FILE")}
    for path in SOURCES:
        found.update(f"FOLDLINE_{name}" for name in re.findall(pattern, path.read_text()))
    return found


def commands() -> Iterator[str]:
    """Every command line of `foldline`, as `foldline outbox keep`."""
    for point in entry_points(group="foldline.commands"):
        yield from _walk(f"foldline {point.name}", point.load())


def _walk(path: str, command: click.Command) -> Iterator[str]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _walk(f"{path} {name}", child)
    elif not command.hidden:
        yield path


def test_every_variable_is_documented() -> None:
    missing = {name for name in variables() if name not in CONFIGURATION}
    assert not missing


def test_no_documented_variable_is_gone() -> None:
    documented = set(re.findall(r"`(FOLDLINE_[A-Z0-9_]+)`", CONFIGURATION))
    sources = "\n".join(path.read_text() for path in SOURCES)
    gone = {
        name
        for name in documented
        if name.removeprefix("FOLDLINE_") not in sources and "_PORT_" not in name
    }
    assert not gone


def test_every_metric_is_documented() -> None:
    text = (DOCS / "metrics.md").read_text()
    names = {value for name, value in calls() if name in METRICS}
    names |= {f"foldline_projection_{value}" for name, value in calls() if name in PREFIXED}
    assert names
    missing = {name for name in names if name not in text}
    assert not missing


def test_every_make_target_is_documented() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z0-9-]+):.*## ", makefile, flags=re.MULTILINE)
    text = (DOCS / "make.md").read_text()
    assert not {target for target in targets if f"`make {target}`" not in text}


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_command_is_documented(command: str) -> None:
    assert f"`{command}" in (DOCS / "cli.md").read_text()


@pytest.mark.parametrize("room", ["command", "query"])
def test_every_endpoint_is_documented(room: str) -> None:
    text = (DOCS / f"{room}-api.md").read_text()
    package = ROOT / "services" / room / "src" / f"foldline_{room}"
    routes = {
        value
        for path in package.rglob("*.py")
        for value in re.findall(r'"(/[a-z][A-Za-z0-9/{}<>:_-]*)"', path.read_text())
    }
    missing = {
        route
        for route in routes
        if route.startswith(
            ("/orders", "/customers", "/search", "/stats", "/projections", "/parked")
        )
        and re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route).split("{")[0] not in text
    }
    assert not missing
