"""What the command line's own process logs, and what ends it unexpectedly: through the same redaction as the services.

Most commands never log. Logging is set up with the first line, so that they do not wait for its imports.
"""

import logging
import sys
from collections.abc import Callable
from typing import Final

SERVICE: Final = "cli"


class _FirstLine(logging.Handler):
    """Stands in for the real handler until there is something to write."""

    def emit(self, record: logging.LogRecord) -> None:
        _configure()
        logging.getLogger(record.name).handle(record)


def guarded(command: Callable[[], object]) -> None:
    """Run the whole command line. An error that nobody expected is told by type and place: its text may be secret."""
    logging.getLogger().addHandler(_FirstLine())
    logging.captureWarnings(True)
    try:
        command()
    except Exception as error:  # noqa: BLE001  whatever it is, the interpreter would print its text and trace
        from structlog import get_logger

        if any(isinstance(handler, _FirstLine) for handler in logging.getLogger().handlers):
            _configure()  # a service that the command ran has done so under its own name
        get_logger(__name__).critical("process.crashed", exc_info=error)
        sys.exit(1)


def _configure() -> None:
    from shared.runtime.logging import configure

    configure(SERVICE, level="WARNING")
