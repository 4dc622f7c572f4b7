"""Counts what an engine asks the database: statements, transactions and round trips, by stage."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from asyncpg.connection import LoggedQuery
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

_PAST_THE_CURSOR = ("BEGIN", "COMMIT", "ROLLBACK", ";")


class Tally:
    """What was asked since it was attached; `stage` says under which name the next question counts.

    Preparing a statement, which a connection does once, is not counted, nor what the driver asks about types for it.
    """

    def __init__(self) -> None:
        """Count nothing yet."""
        self.stage = ""
        self.statements: Counter[str] = Counter()
        self.commits: Counter[str] = Counter()
        self.round_trips: Counter[str] = Counter()
        self.texts: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def enter(self, stage: str) -> None:
        """Count under another name from now on."""
        self.stage = stage

    @contextmanager
    def attached(self, engine: AsyncEngine) -> Iterator[None]:
        """Count what goes through connections that are opened from now on."""

        def on_connect(connection: Any, _record: Any) -> None:
            connection.driver_connection.add_query_logger(self._on_simple_query)

        listeners = (("connect", on_connect), ("before_cursor_execute", self._on_statement))
        for name, listener in listeners:
            event.listen(engine.sync_engine, name, listener)
        try:
            yield
        finally:
            for name, listener in listeners:
                event.remove(engine.sync_engine, name, listener)

    def _on_statement(self, connection: Any, *given: Any) -> None:
        text = " ".join(str(given[1]).split())
        self.commits[self.stage] += connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
        self.statements[self.stage] += 1
        self.round_trips[self.stage] += 1
        self.texts[self.stage][text] += 1

    def _on_simple_query(self, query: LoggedQuery) -> None:
        """BEGIN, COMMIT and the driver's pings: they go past SQLAlchemy's cursor."""
        if not query.query.upper().startswith(_PAST_THE_CURSOR):
            return
        self.round_trips[self.stage] += 1
        self.commits[self.stage] += query.query.upper().startswith("COMMIT")
