"""Keeps a lease alive while a slice runs, and stops the slice in time when it cannot."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from shared.domain.errors import LeaseLost, TransientError
from shared.ports import Lease, Renewal

_log = structlog.get_logger(__name__)
_RETRY_SHARE = 0.1  # of the renewal interval: how soon a failed renewal is tried again
_BREATH = 0.002  # seconds that items which never wait may keep everybody else waiting


class LeaseKeeper(Protocol):
    """Renews leases on a connection of its own."""

    async def renew(self, lease: Lease) -> Renewal | None:
        """Extend the lease; None when it is another's now."""
        ...


class LeaseGuard:
    """One lease's watch. `check` before every side effect; `watch` beside the work ends it with `LeaseLost`."""

    def __init__(
        self, keeper: LeaseKeeper, lease: Lease, every: timedelta, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Trust the lease until the instant that its acquisition gave."""
        self.lease = lease
        self.abort_requested = False  # as of the last renewal, like the next
        self.is_paused = False
        self._keeper = keeper
        self._every = every.total_seconds()
        self.monotonic = monotonic
        self._trusted_until = lease.trusted_until
        self._granted = monotonic()
        self._is_over = False
        self._not_renewing = asyncio.Event()
        self._not_renewing.set()
        self._breathed = time.monotonic()  # the real time: it is the event loop that must breathe

    def check(self) -> None:
        """Raise `LeaseLost` when no new side effect may start."""
        if self.monotonic() >= self._trusted_until:
            raise LeaseLost

    def now(self) -> datetime:
        """Return the database's time: as of the lease, plus what has passed here since."""
        return self.lease.granted_at + timedelta(seconds=self.monotonic() - self._granted)

    def rest(self) -> None:
        """Miss the lease no more: its run has ended, and a renewal on its way will find nothing."""
        self._is_over = True

    def give_up(self) -> None:
        """Trust the lease no longer: a write of ours was fenced."""
        self._trusted_until = self.monotonic()

    async def breathe(self) -> None:
        """Let a renewal that is due go first. Called between items: those that never wait would starve it."""
        if time.monotonic() - self._breathed >= _BREATH:
            await asyncio.sleep(0)
            self._breathed = time.monotonic()
        await self._not_renewing.wait()

    async def watch(self) -> None:
        """Renew for ever; raise `LeaseLost` when another worker took the run or renewing failed for too long."""
        pause = self._every
        while True:
            await asyncio.sleep(min(pause, max(0.0, self._trusted_until - self.monotonic())))
            self._not_renewing.clear()
            try:
                pause = await self._renew()
            finally:
                self._not_renewing.set()

    async def _renew(self) -> float:
        remaining = self._trusted_until - self.monotonic()
        try:
            async with asyncio.timeout(max(remaining, 0.001)):
                renewed = await self._keeper.renew(self.lease)
        except (TransientError, TimeoutError):
            _log.warning("lease.renewal_failed", run_id=str(self.lease.run_id), epoch=self.lease.epoch)
            self.check()
            return self._every * _RETRY_SHARE
        if renewed is None:
            if self._is_over:
                return self._every
            raise LeaseLost
        self._trusted_until = renewed.trusted_until
        self.abort_requested, self.is_paused = renewed.abort_requested, renewed.is_paused
        return self._every
