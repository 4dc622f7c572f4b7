"""What a test that does not end is waiting for. A thread's stack does not say: all tasks of a loop share one thread."""

import asyncio
import gc
import inspect
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TextIO


@contextmanager
def told_of_hangs(name: str, *, patience: float, out: TextIO | None = None) -> Iterator[None]:
    """Say on standard error what every task waits for, once, if the block takes longer than `patience` seconds."""
    timer = threading.Timer(patience, _tell, (name, out))
    timer.daemon, timer.name = True, name
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _tell(name: str, out: TextIO | None) -> None:
    lines = [f"\n{name} takes long; its tasks wait here:\n"]
    lines += (line for task in _tasks() for line in _described(task))
    (out or sys.__stderr__ or sys.stderr).write("".join(lines))


def _tasks() -> list["asyncio.Task[Any]"]:
    return [one for one in gc.get_objects() if isinstance(one, asyncio.Task) and not one.done()]


def _described(task: "asyncio.Task[Any]") -> Iterator[str]:
    yield f"task {task.get_name()}, cancelled {task.cancelling()} times\n"
    waiting: Any = task.get_coro()
    while waiting is not None:
        waiting = _generator_of(waiting)
        frame = _frame_of(waiting)
        if frame is None:
            yield f"  {waiting!r:.300}\n"
            return
        yield from traceback.format_list(traceback.StackSummary.extract([(frame, frame.f_lineno)]))
        waiting = _awaited(waiting)


def _generator_of(waiting: Any) -> Any:
    """Return the generator behind its `anext`, which itself says nothing."""
    if not type(waiting).__name__.startswith("async_generator_a"):
        return waiting
    return next(filter(inspect.isasyncgen, gc.get_referents(waiting)), waiting)


def _frame_of(waiting: Any) -> FrameType | None:
    frames = (getattr(waiting, name, None) for name in ("cr_frame", "ag_frame", "gi_frame"))
    return next((frame for frame in frames if frame is not None), None)


def _awaited(waiting: Any) -> Any:
    if inspect.isasyncgen(waiting):
        return waiting.ag_await
    return getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)
