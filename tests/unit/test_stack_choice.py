"""Which servers are used follows from the settings and from what is there, and from nothing else."""

import pytest

from cli.stack.choice import Kind, Surroundings, choose
from cli.stack.errors import StackError

URLS = {"AMQP_URL": "amqp://broker", "DATABASE_URL": "postgresql://database"}
NOTHING = Surroundings(private_programs=False, docker_engine=False, docker_images=False)
PROGRAMS = Surroundings(private_programs=True, docker_engine=False, docker_images=False)
ENGINE = Surroundings(private_programs=False, docker_engine=True, docker_images=False)
BOTH = Surroundings(private_programs=True, docker_engine=True, docker_images=False)
EVERYTHING = Surroundings(private_programs=True, docker_engine=True, docker_images=True)


@pytest.mark.parametrize("found", [NOTHING, PROGRAMS, EVERYTHING])
def test_given_addresses_are_used_whatever_else_is_there(found: Surroundings) -> None:
    assert choose(URLS, found) is Kind.EXTERNAL


@pytest.mark.parametrize("name", ["AMQP_URL", "DATABASE_URL"])
def test_one_address_without_the_other_is_refused(name: str) -> None:
    with pytest.raises(StackError, match="both AMQP_URL and DATABASE_URL"):
        choose({name: URLS[name]}, EVERYTHING)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (PROGRAMS, Kind.PRIVATE),
        (BOTH, Kind.PRIVATE),  # pulling images costs more than starting programs
        (EVERYTHING, Kind.CONTAINERS),
        (ENGINE, Kind.CONTAINERS),
    ],
)
def test_auto_takes_what_starts_without_a_download_and_containers_before_private_servers(
    found: Surroundings, expected: Kind
) -> None:
    assert choose({}, found) is expected


def test_auto_with_nothing_at_hand_says_what_to_do() -> None:
    with pytest.raises(StackError, match=r"install the packages .* start a Docker engine.* or set AMQP_URL"):
        choose({}, NOTHING)


@pytest.mark.parametrize("kind", [Kind.PRIVATE, Kind.CONTAINERS])
def test_a_forced_kind_overrides_given_addresses(kind: Kind) -> None:
    assert choose({**URLS, "REINSTATE_STACK": kind}, EVERYTHING) is kind


@pytest.mark.parametrize(
    ("asked", "found", "complaint"),
    [
        ("private", ENGINE, "PostgreSQL or RabbitMQ is missing"),
        ("containers", PROGRAMS, "no Docker engine answers"),
        ("external", EVERYTHING, "both AMQP_URL and DATABASE_URL"),
        ("podman", EVERYTHING, "use auto, private, containers or external"),
    ],
)
def test_a_forced_kind_that_cannot_be_had_is_an_error_and_never_replaced(
    asked: str, found: Surroundings, complaint: str
) -> None:
    with pytest.raises(StackError, match=complaint):
        choose({"REINSTATE_STACK": asked}, found)
