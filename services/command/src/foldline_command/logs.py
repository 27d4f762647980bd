"""Logs of the room: one JSON object a line on standard error, without values of variables.

Tracebacks leave local variables out, because those hold what customers wrote.
"""

import sys

import structlog


def configure() -> None:
    """Sets the process's logging up."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
