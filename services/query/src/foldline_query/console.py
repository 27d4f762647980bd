"""`/console`: one static page over the API, for people who look at a running system.

It shows how fresh each projection is, lists orders where that domain is installed, and looks one
up. The page loads nothing from elsewhere and its policy forbids it to.
"""

from collections.abc import Callable
from importlib.resources import files

from flask import Blueprint, Response

_POLICY = (
    "default-src 'none'; connect-src 'self'; script-src 'self'; style-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FILES = {
    "/console": ("console.html", "text/html"),
    "/console/console.js": ("console.js", "text/javascript"),
    "/console/console.css": ("console.css", "text/css"),
}


def blueprint() -> Blueprint:
    """The page and its two files."""
    routes = Blueprint("console", __name__)
    folder = files("foldline_query") / "static"
    for path, (name, kind) in _FILES.items():
        routes.add_url_rule(path, name.replace(".", "_"), _serve((folder / name).read_text(), kind))
    return routes


def _serve(text: str, kind: str) -> Callable[[], Response]:
    headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
    return lambda: Response(text, 200, headers, mimetype=kind)
