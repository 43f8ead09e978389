"""Logs as an event name with keys and values, on stderr; the same set-up in driver and workers."""

import logging
import sys

import structlog


def configure(level: str = "INFO") -> None:
    """Sets structlog up for this process. Idempotent: a second call replaces the first.

    `level` is the name of a standard logging level; an unknown one raises ValueError.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"log level {level!r} is not one of {sorted(logging.getLevelNamesMapping())}")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def get_logger(**context: object) -> structlog.typing.FilteringBoundLogger:
    """A logger that carries `context` on every line."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(**context)
    return logger
