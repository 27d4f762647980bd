"""The unprivileged account for the one server that refuses to run as root."""

import os
import pwd
from pathlib import Path

from foldline_local.errors import LocalError

CANDIDATES = ("postgres", "nobody")


def unprivileged() -> pwd.struct_passwd | None:
    """Under root, an existing account to run PostgreSQL as; otherwise None, because we are one already."""
    if os.geteuid() != 0:
        return None
    for name in CANDIDATES:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise LocalError(
        f"PostgreSQL does not run as root, and none of the accounts {', '.join(CANDIDATES)} exists"
    )


def require_reachable(path: Path, account: pwd.struct_passwd) -> None:
    """Every folder above `path` must let the account through, or the server dies with a riddle."""
    for folder in path.parents:
        if folder.exists() and not folder.stat().st_mode & 0o001:
            raise LocalError(
                f"PostgreSQL runs as {account.pw_name}, who cannot enter {folder}; "
                "choose another place by FOLDLINE_LOCAL_DIR and XDG_CACHE_HOME"
            )
