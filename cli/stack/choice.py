"""Which servers to use: a pure decision over what is asked for and what is there."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from cli.stack.errors import StackError


class Kind(StrEnum):
    """Where the servers come from."""

    EXTERNAL = "external"
    PRIVATE = "private"
    CONTAINERS = "containers"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What this machine offers."""

    private_programs: bool
    """PostgreSQL's programs are here, and RabbitMQ's are here or can be installed."""
    docker_engine: bool
    docker_images: bool
    """Both images are on the machine, so that no download is needed."""


def choose(settings: Mapping[str, str], found: Surroundings) -> Kind:
    """Decide by `REINSTATE_STACK` (auto, private, containers, external) and the two addresses.

    Automatic: given servers; else containers that cost no download; else private servers; else containers.
    Raises StackError that says what to do where nothing fits.
    """
    asked = settings.get("REINSTATE_STACK", "auto")
    given = [name for name in ("AMQP_URL", "DATABASE_URL") if settings.get(name)]
    if asked not in {"auto", *Kind}:
        raise StackError(f"REINSTATE_STACK is {asked!r}: use auto, private, containers or external")
    if asked == Kind.EXTERNAL or (asked == "auto" and given):
        if len(given) != 2:  # noqa: PLR2004 - both addresses or neither
            raise StackError("set both AMQP_URL and DATABASE_URL to use servers that run already, or neither")
        return Kind.EXTERNAL
    if asked == Kind.CONTAINERS or (asked == "auto" and found.docker_engine and found.docker_images):
        return _need(Kind.CONTAINERS, there=found.docker_engine, remedy="no Docker engine answers: start one")
    if asked == Kind.PRIVATE or found.private_programs:
        remedy = "PostgreSQL or RabbitMQ is missing: install the packages postgresql and rabbitmq-server"
        return _need(Kind.PRIVATE, there=found.private_programs, remedy=remedy)
    remedy = (
        "no servers to use: install the packages postgresql and rabbitmq-server, start a Docker engine, "
        "or set AMQP_URL and DATABASE_URL"
    )
    return _need(Kind.CONTAINERS, there=found.docker_engine, remedy=remedy)


def _need(kind: Kind, *, there: bool, remedy: str) -> Kind:
    if not there:
        raise StackError(remedy)
    return kind
