"""Which line of a failed command's output says why."""

import re

_TELLING = re.compile(r"(error|exception|fatal|denied|cannot|could not|failed)", re.I)
_STACK_FRAME = re.compile(r"^\s+at |^\s*\.\.\. \d+ more|^\t")


def reason(output: str) -> str:
    """The last line that looks like a reason, else the last line at all; stack frames are never it."""
    lines = [
        line.strip()
        for line in output.splitlines()
        if line.strip() and not _STACK_FRAME.match(line)
    ]
    telling = [line for line in lines if _TELLING.search(line)]
    return (telling or lines or ["it printed nothing"])[-1][:300]
