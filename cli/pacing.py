"""How fast messages are put back: as somebody who watches wants it."""

import asyncio


class Pace:
    """Lets `rate` turns a second pass; None is no limit."""

    def __init__(self, rate: float | None) -> None:
        """Take the turns of a second."""
        self._gap = 1 / rate if rate else 0.0
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for the next turn."""
        now = asyncio.get_running_loop().time()
        if self._next > now:
            await asyncio.sleep(self._next - now)
        self._next = max(now, self._next) + self._gap
