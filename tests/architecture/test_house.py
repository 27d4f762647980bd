"""The shape of the house: what must stay true however the rooms grow."""

import ast
import operator
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for room in ("contracts", "services", "local", "cli", "benchmarks")
    for path in (ROOT / room).rglob("*.py")
)
ENVIRONMENT_READERS = {"main.py", "config.py", "wsgi.py", "gunicorn.py", "cli.py"}
GENERIC_ROOMS = ("command", "query", "projector")


def test_operator_directory_is_not_a_package() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert (operator.__file__ or "").startswith(sysconfig.get_path("stdlib"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_function_is_longer_than_50_lines(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 50, f"{path}:{node.lineno} {node.name} has {length} lines"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_longer_than_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("room", GENERIC_ROOMS)
def test_no_generic_module_imports_the_orders_domain(room: str) -> None:
    package = ROOT / "services" / room / "src" / f"foldline_{room}"
    for path in package.rglob("*.py"):
        if {"orders", "customers"} & set(path.relative_to(package).parts):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            domain = [name for name in names if {"orders", "customers"} & set(name.split("."))]
            assert not domain, f"{path} imports {domain}"
