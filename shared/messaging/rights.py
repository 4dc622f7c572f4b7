"""Who may do what on the broker, derived from the topology: one user per service, per upstream and per kind of person.

Nobody may declare, bind or delete: deployment does, as the broker's administrator (`reinstate topology apply`). The
broker's patterns and `docs/reference/topology.md` follow from here.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from types import MappingProxyType

from shared.contracts.names import CommandKey, Exchange, Queue, ServiceName, event_key, work_key
from shared.domain.runs import Lane, RunStatus, RunType
from shared.messaging.topology import BINDINGS, EXCHANGES, STORES

NOTHING = "^$"
PREFIX = "reinstate"
UPSTREAM_PREFIX = "upstream"
ANY_KEY: frozenset[str] = frozenset()  # of an exchange that does not route by keys

_SERVICE_LIMITS = (256, 2048)  # connections and channels of all replicas together
_UPSTREAM_LIMITS = (16, 64)
_PERSON_LIMITS = (16, 64)
_TOPICS = frozenset(Exchange(exchange.name) for exchange in EXCHANGES if exchange.type == "topic")


class Role(StrEnum):
    """A user of ours: a service's, by the service's name, or a person's. The broker knows it as `<prefix>-<role>`."""

    DISPATCHER = ServiceName.DISPATCHER.value
    RESTORE = ServiceName.RESTORE.value
    BULK = ServiceName.BULK.value
    NOTIFIER = ServiceName.NOTIFIER.value
    OPERATOR = "operator"  # people at the dead letters: `reinstate dead`
    MONITOR = "monitor"  # what looks at the broker's metrics and nothing else


@dataclass(frozen=True, slots=True)
class Rights:
    """What one user may do. `publishes` names routing keys by exchange, `ANY_KEY` where keys take no part."""

    purpose: str
    publishes: Mapping[Exchange, frozenset[str]]
    consumes: frozenset[str] = frozenset()  # queues: a right to read is one to acknowledge, to get and to purge
    connections: int = _SERVICE_LIMITS[0]
    channels: int = _SERVICE_LIMITS[1]
    tags: str = ""

    def may_publish(self, exchange: str, routing_key: str) -> bool:
        """Tell whether the broker takes a message for this exchange under this key."""
        keys = self.publishes.get(Exchange(exchange)) if exchange in set(Exchange) else None
        return keys is not None and (keys == ANY_KEY or routing_key in keys)

    @property
    def permissions(self) -> dict[str, str]:
        """The broker's patterns of names; `configure` is nobody's."""
        return {
            "configure": NOTHING,
            "write": _whole(exchange.value for exchange in self.publishes),
            "read": _whole(self.consumes),
        }

    @property
    def topic_permissions(self) -> list[dict[str, str]]:
        """The broker's patterns of routing keys: one for every topic exchange, as none defined would allow all."""
        return [
            {"exchange": exchange.value, "write": _whole(self.publishes.get(exchange, ())), "read": NOTHING}
            for exchange in sorted(_TOPICS)
        ]

    @property
    def limits(self) -> dict[str, int]:
        """The broker's limits of a user."""
        return {"max-connections": self.connections, "max-channels": self.channels}


@dataclass(frozen=True, slots=True)
class BrokerLogin:
    """A user and, where it is known, the password."""

    user: str
    password: str | None = field(default=None, repr=False)


def _whole(names: Iterable[str]) -> str:
    r"""Return the pattern of these names. The end is `\z`: before it, `$` would let a line feed pass."""
    alternatives = "|".join(re.escape(name).replace("\\-", "-") for name in sorted(names))
    return rf"^({alternatives})\z" if alternatives else NOTHING


_WORK = frozenset(work_key(run, lane) for run in RunType for lane in Lane)
_EVENTS = frozenset(event_key(run, status) for run in RunType for status in (*RunStatus, None))


def _dead_keys(service: ServiceName) -> frozenset[str]:
    """Return the keys under which a service's own messages are put aside."""
    return frozenset({service.parked, *(queue.value for queue in Queue if queue.service is service)})


def _service(service: ServiceName, purpose: str, publishes: Mapping[Exchange, frozenset[str]]) -> Rights:
    aside = {Exchange.RETRY: ANY_KEY, Exchange.DEAD_LETTER: _dead_keys(service)}
    return Rights(purpose, {**publishes, **aside}, frozenset(q.value for q in Queue if q.service is service))


def _worker(service: ServiceName, run_type: RunType) -> Rights:
    # Any wake-up: who gives a tenant's slot back wakes the run that waits for it, whatever its type.
    events = frozenset(event_key(run_type, status) for status in (*RunStatus, None))
    return _service(service, f"works {run_type.value} rows and tells", {Exchange.WORK: _WORK, Exchange.EVENTS: events})


def _dispatcher() -> Rights:
    purpose = "takes commands, sends what any service left unsent, looks into the dead queues"
    own = _service(ServiceName.DISPATCHER, purpose, {Exchange.WORK: _WORK, Exchange.EVENTS: _EVENTS})
    return Rights(own.purpose, own.publishes, own.consumes | frozenset(STORES))


def _operator() -> Rights:
    return Rights(
        "people at the dead letters: look, send again, put aside, drop",
        {
            Exchange.COMMANDS: frozenset(key.value for key in CommandKey),
            Exchange.WORK: _WORK,
            Exchange.EVENTS: _EVENTS,
            Exchange.DEAD_LETTER: frozenset(service.parked for service in ServiceName),
        },
        frozenset(STORES),
        *_PERSON_LIMITS,
    )


ROLES: Mapping[Role, Rights] = MappingProxyType(
    {
        Role.DISPATCHER: _dispatcher(),
        Role.RESTORE: _worker(ServiceName.RESTORE, RunType.RESTORE),
        Role.BULK: _worker(ServiceName.BULK, RunType.BULK),
        Role.NOTIFIER: _service(ServiceName.NOTIFIER, "turns events into notifications", {}),
        Role.OPERATOR: _operator(),
        Role.MONITOR: Rights("looks at numbers only", {}, frozenset(), *_PERSON_LIMITS, tags="monitoring"),
    }
)


def upstream_rights(commands: Collection[CommandKey]) -> Rights:
    """Return what an upstream may do that may send these commands: it publishes them, and reads nothing.

    What became of a command it asks over HTTP: a queue bound to `events` would show it every tenant's.
    """
    keys = frozenset(key.value for key in commands)
    return Rights("sends commands", {Exchange.COMMANDS: keys} if keys else {}, frozenset(), *_UPSTREAM_LIMITS)


def user_name(role: Role, prefix: str = PREFIX) -> str:
    """Return the name of a user of ours; raise `ValueError` for a prefix that would make it somebody else's."""
    if not re.fullmatch(r"[a-z][a-z0-9_.-]{0,99}", prefix) or prefix == UPSTREAM_PREFIX:
        raise ValueError(f"{prefix!r} is no prefix of users: use a-z, 0-9, _, . and -, and not {UPSTREAM_PREFIX!r}")
    return f"{prefix}-{role.value}"


def upstream_user(name: str) -> str:
    """Return the broker's user of an upstream system; raise `ValueError` for what cannot be its name."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,99}", name):
        raise ValueError(f"{name!r} is no name of an upstream: use a-z, 0-9, _, . and -, at most 100")
    return f"{UPSTREAM_PREFIX}-{name}"


def upstream_of(user: str | None) -> str | None:
    """Return the upstream whose user this is; None for everybody else's and for nobody's."""
    prefix, _, name = (user or "").partition("-")
    return name if prefix == UPSTREAM_PREFIX and name else None


@cache
def relatives(own_user: str, roles: tuple[Role, ...] = tuple(Role)) -> frozenset[str]:
    """Return the users of the same installation that have one of these roles, and `own_user` in any case.

    Where everything signs in as one user, that is the only one.
    """
    prefix, _, role = own_user.rpartition("-")
    if role not in set(Role) or prefix in ("", UPSTREAM_PREFIX):
        return frozenset({own_user})
    return frozenset({own_user, *(f"{prefix}-{one.value}" for one in roles)})


_ORIGINS = frozenset({Exchange.COMMANDS.value, Exchange.WORK.value, Exchange.EVENTS.value})


@cache
def vouched_origins(user: str | None, own_user: str) -> frozenset[str]:
    """Return the exchanges that a user is believed about who put a message aside: those of the queues that it works.

    An operator, who only repeats what was believed before, is believed about all; a stranger about none. Otherwise a
    worker that was taken over could leave commands in an upstream's name for an operator to send again.
    """
    if user is None or user not in relatives(own_user):
        return frozenset()
    role = user.rpartition("-")[2]
    if len(relatives(own_user)) == 1 or role == Role.OPERATOR:
        return _ORIGINS
    worked = {queue.value for queue in Queue if queue.service.value == role}
    return _ORIGINS & {binding.source for binding in BINDINGS if binding.destination in worked}
