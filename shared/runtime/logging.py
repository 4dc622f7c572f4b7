"""Logs: one JSON object per line on stderr, a fixed `action` and fields. No secrets, no payloads, no stack traces.

`structlog.get_logger(__name__).info("run.claimed", run_id=...)`: the first argument is the action, never prose.
"""

import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor

from shared.runtime.redaction import redacted

_QUIET = (
    "uvicorn",
    "uvicorn.error",
    "uvicorn.access",
    "faststream",
    "aio_pika",
    "aiormq",
    "httpx",
    "httpcore",
    "asyncio",
)


def configure(service: str, *, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Route structlog and the standard library's logging to `stream`. Our own lines obey `level`, libraries WARNING."""
    structlog.contextvars.clear_contextvars()
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, _foreign],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _Named(service),
            describe_error,
            redact,
            structlog.processors.EventRenamer("action"),
            structlog.processors.JSONRenderer(default=str),
        ],
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)  # noqa: FBT003  the standard library's only argument
    sys.excepthook = _crashed
    if sys.unraisablehook is sys.__unraisablehook__:  # a test runner has its own, and counts what it hears
        sys.unraisablehook = _unraisable
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _thread_crashed
    for name in _QUIET:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)


class _Named:
    """Adds the service to every line."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _logger: object, _method: str, event: EventDict) -> EventDict:
        return {**event, "service": self._service}


def _foreign(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Give a library's prose a fixed action; with an error it is dropped, since it often repeats the payload."""
    record: logging.LogRecord = event["_record"]
    text = None if record.exc_info and record.exc_info[0] else event["event"]
    return {**event, "event": "library.message", "logger": record.name, "text": text, "exc_info": record.exc_info}


def describe_error(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Replace an exception by its type, its safe code and where it was raised: never its text or its trace."""
    error = _exception_of(event.pop("exc_info", None))
    event.pop("stack_info", None)
    if error is None:
        return event
    event["error_type"] = type(error).__name__
    if (code := getattr(error, "code", None)) is not None:
        event.setdefault("code", str(code))
    if place := _place(error.__traceback__):
        event["error_at"] = place
    return event


def _exception_of(info: object) -> BaseException | None:
    if isinstance(info, BaseException):
        return info
    if isinstance(info, tuple):
        return info[1] if isinstance(info[1], BaseException) else None
    return sys.exc_info()[1] if info else None


def _place(trace: TracebackType | None) -> str | None:
    """`module:line` of the innermost frame."""
    frames = list(traceback.walk_tb(trace))
    if not frames:
        return None
    frame, line = frames[-1]
    return f"{frame.f_globals.get('__name__', '?')}:{line}"


def redact(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Show of every field what may be seen (`shared.runtime.redaction`); last of all, for each line of any origin."""
    return redacted(event)


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say what ended the process, and where; the interpreter would print its text and trace."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    structlog.get_logger(__name__).critical("process.crashed", exc_info=error)


def _thread_crashed(crash: threading.ExceptHookArgs) -> None:
    """Say what ended a thread."""
    if not issubclass(crash.exc_type, SystemExit):
        structlog.get_logger(__name__).critical("thread.crashed", exc_info=crash.exc_value or crash.exc_type())


def _unraisable(crash: "sys.UnraisableHookArgs") -> None:
    """Say what nobody could be told: an error of a finaliser."""
    structlog.get_logger(__name__).error("error.unraisable", exc_info=crash.exc_value)
