"""What is logged during a test."""

import io
from collections.abc import Iterator

import pytest
import structlog

from shared.runtime.logging import configure


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What a process of ours writes to its log, each line a document."""
    stream = io.StringIO()
    configure("restore", level="DEBUG", stream=stream)
    yield stream
    structlog.reset_defaults()
