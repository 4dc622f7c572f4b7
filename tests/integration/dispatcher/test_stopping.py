"""A dispatcher may be stopped at any moment, while it starts, too."""

import asyncio

import pytest

from services.dispatcher.machinery import running
from services.dispatcher.metrics import Metrics
from services.dispatcher.settings import DispatcherSettings

STEP = 0.008  # seconds


async def test_a_stop_at_any_moment_of_the_start_is_no_crash(
    settings: DispatcherSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes: list[int] = []
    codes = set()

    for step in range(25):
        monkeypatch.setattr("shared.runtime.tasks.terminate_process", lambda step=step: crashes.append(step))
        async with running(settings, Metrics()) as machinery:
            await asyncio.sleep(step * STEP)  # not a wait for anything: this is the moment
        codes.add(machinery.background.exit_code)

    assert (crashes, codes) == ([], {0})
