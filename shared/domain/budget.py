"""How many calls a tenant's system may get from us: the law of a budget, apart from the row that holds it.

A budget promises a sliding window: however the calls fall, no `Limit.seconds` see more than `Limit.count` of them. It
hands tokens out in blocks. A block counts from the moment it is taken until one window after its last token may have
been used. All times are seconds of one clock, the database's.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import floor
from uuid import UUID

HOLD_SHARE = 0.05  # of the window: how long a block's tokens may be used
LONGEST_HOLD = 1.0
TRAVEL_SHARE = 0.02  # of the window: what a call may take from its token to its arrival
MERGE_SHARE = 0.01  # of the window: used blocks of one such instant are remembered as one
LEAST_FACTOR = 1 / 16
RECOVERY = 1.1  # per quiet minute
QUIET = 60.0
SILENT_FLOOR = 5.0  # where the system refuses without saying for how long
SILENT_CAP = 120.0
_EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` calls in any `seconds`. A count below one stretches the window instead.

    `announced` when each call has an intent in the ledger first: then what a lost lease used of a block is bounded.
    """

    count: float
    seconds: float
    announced: bool = False

    @property
    def hold(self) -> float:
        """How long after it was asked for a token may be used; a single one is used at once."""
        return min(LONGEST_HOLD, self.seconds * HOLD_SHARE) if self.count >= 2 else 0.0  # noqa: PLR2004  one is single

    @property
    def travel(self) -> float:
        """How long after its token was used a call may arrive without breaking the promise."""
        return self.seconds * TRAVEL_SHARE

    @property
    def memory(self) -> float:
        """How long a block may matter."""
        return self._span(self.count * LEAST_FACTOR)

    def at(self, factor: float) -> tuple[int, float]:
        """Return the tokens per span of time, and the span, with the limit lowered by `factor`."""
        allowed = self.count * factor
        return max(1, floor(allowed + _EPSILON)), self._span(allowed)

    def _span(self, allowed: float) -> float:
        return (self.seconds + self.travel) * max(1.0, 1 / allowed)


@dataclass(frozen=True, slots=True)
class Block:
    """Tokens given out together, usable until `until`. A settled block has the number 0: all were used by then.

    `holder` names the lease under which they are used; it is empty where nobody can tell what a dead holder used.
    """

    number: int
    until: float
    tokens: int
    holder: str = ""


@dataclass(frozen=True, slots=True)
class Settlement:
    """A block whose holder is through with it, and how many of its tokens come back unused."""

    number: int
    unused: int


@dataclass(frozen=True, slots=True)
class Grant:
    """Tokens to use within the limit's hold; with none, `wait` says in how many seconds to ask again."""

    tokens: int
    wait: float = 0.0
    number: int = 0


@dataclass(frozen=True, slots=True)
class Budget:
    """What is remembered of one tenant's calls of one class."""

    blocks: tuple[Block, ...] = ()
    factor: float = 1.0  # of the limit, as of `blocked_until`; it recovers from there on
    blocked_until: float = 0.0
    strikes: int = 0  # refusals in a row, with no quiet minute between
    last_number: int = 0

    def factor_at(self, now: float) -> float:
        """Return the share of the limit in force: 10 % more after each minute without a refusal, up to all of it."""
        minutes = floor(max(0.0, now - self.blocked_until) / QUIET)
        full = 60  # 1.1 ** 60 exceeds 1 / LEAST_FACTOR many times
        return min(1.0, self.factor * RECOVERY ** min(minutes, full))

    def take(
        self, limit: Limit, want: int, now: float, settled: Settlement | None = None, holder: str = ""
    ) -> tuple["Budget", Grant]:
        """Give up to `want` tokens, after `settled` was given back."""
        one = self._remember(limit, now, settled)
        if want < 1 or now < one.blocked_until:
            return one, Grant(0, max(0.0, one.blocked_until - now))
        count, span = limit.at(one.factor_at(now))
        live = sorted((block for block in one.blocks if block.until + span > now), key=lambda block: block.until)
        free = count - sum(block.tokens for block in live)
        if free < 1:
            return one, Grant(0, _until_free(live, free, span) - now)
        number = one.last_number + 1
        tokens = min(want, free)
        block = Block(number, now + limit.hold, tokens, holder)
        return replace(one, blocks=(*one.blocks, block), last_number=number), Grant(tokens, number=number)

    def taken_over(self, holder: str, used: int) -> "Budget":
        """Give back what `holder` has: it used at most `used` tokens of each block, and can use no more than that."""
        blocks = (
            Block(0, one.until, min(one.tokens, used)) if holder and one.holder == holder else one
            for one in self.blocks
        )
        return replace(self, blocks=tuple(blocks))

    def refused(
        self, limit: Limit, retry_after: float | None, now: float, jitter: float, *, slow_down: bool = True
    ) -> "Budget":
        """Block everybody of the tenant, and halve what is allowed.

        Answers to calls that were on their way during a block are part of the same refusal: they lengthen the block if
        they say so, and halve nothing. Without a `retry_after` the block grows with every refusal in a row; `jitter` in
        [0, 1) spreads it. `slow_down` is False for an outage, which says nothing about the limit.
        """
        if now < self.blocked_until:
            return replace(self, blocked_until=max(self.blocked_until, now + (retry_after or 0.0)))
        strikes = self.strikes if now - self.blocked_until <= QUIET else 0
        if retry_after is None:
            ceiling = min(SILENT_CAP, SILENT_FLOOR * 2 ** min(strikes + 1, 10))
            retry_after = SILENT_FLOOR + (ceiling - SILENT_FLOOR) * jitter
        factor = self.factor_at(now)
        return replace(
            self,
            factor=max(LEAST_FACTOR, factor / 2) if slow_down else factor,
            blocked_until=now + max(retry_after, limit.hold + limit.travel),
            strikes=strikes + 1,
        )

    def _remember(self, limit: Limit, now: float, settled: Settlement | None) -> "Budget":
        """Settle a block, forget what matters no more, and keep used blocks that are close together as one."""
        kept: list[Block] = []
        for block in _settle(self.blocks, settled, now):
            if block.tokens < 1 or block.until + limit.memory <= now:
                continue
            last = kept[-1] if kept else None
            if last and last.number == block.number == 0 and _instant(last, limit) == _instant(block, limit):
                kept[-1] = Block(0, max(last.until, block.until), last.tokens + block.tokens)
            else:
                kept.append(block)
        return replace(self, blocks=tuple(kept))


def holder_of(run_id: UUID, epoch: int) -> str:
    """Name the lease of a run."""
    return f"{run_id}:{epoch}"


def _settle(blocks: Iterable[Block], settled: Settlement | None, now: float) -> Iterable[Block]:
    for block in blocks:
        if settled is None or block.number != settled.number or not block.number:
            yield block
        else:
            unused = min(max(settled.unused, 0), block.tokens)
            yield Block(0, min(block.until, now), block.tokens - unused)


def _instant(block: Block, limit: Limit) -> int:
    return floor(block.until / (limit.seconds * MERGE_SHARE))


def _until_free(live: list[Block], free: int, span: float) -> float:
    """When the first token comes back; `live` in order of time."""
    for block in live:
        free += block.tokens
        if free >= 1:
            return block.until + span
    raise AssertionError("a limit allows one call at least")
