"""The stack in containers, for machines with a Docker engine. Needs the development requirement testcontainers."""

import os
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.stack import processes
from cli.stack.admin import amqp_answers, database_answers
from cli.stack.errors import StackError

if TYPE_CHECKING:
    from docker import DockerClient  # type: ignore[import-untyped]  # has no types
    from testcontainers.core.container import DockerContainer

ENGINE_PATIENCE_S = 2
DEFAULT_ENGINE = "unix:///var/run/docker.sock"
START_PATIENCE_S = 90.0
NAME = "reinstate"
AMQP_PORT, MANAGEMENT_PORT, METRICS_PORT, DATABASE_PORT = 5672, 15672, 15692, 5432


@dataclass(frozen=True, slots=True)
class Images:
    """The two images; any with the official images' settings and the management plugin will do."""

    rabbitmq: str
    postgres: str


@dataclass(frozen=True, slots=True)
class Containers:
    """Two running containers."""

    ids: tuple[str, ...]
    amqp_url: str
    database_url: str
    management_url: str
    metrics_url: str


def images() -> Images:
    """From `REINSTATE_RABBITMQ_IMAGE` and `REINSTATE_POSTGRES_IMAGE`, or the official ones."""
    return Images(
        os.environ.get("REINSTATE_RABBITMQ_IMAGE", "rabbitmq:4-management"),
        os.environ.get("REINSTATE_POSTGRES_IMAGE", "postgres:18"),
    )


def look_for_engine() -> tuple[bool, bool]:
    """Whether a Docker engine answers, and whether it has both images already."""
    try:
        client = _client()
    except StackError:
        return False, False
    try:
        wanted = images()
        return True, all(client.images.list(name=name) for name in (wanted.rabbitmq, wanted.postgres))
    finally:
        client.close()


def start_containers() -> Containers:
    """Start both servers and wait until they answer; images that are missing are pulled.

    Raises StackError; nothing stays behind then.
    """
    from testcontainers.core.config import testcontainers_config  # noqa: PLC0415 - a development requirement
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - as above

    # The stack's own guard ends the containers, also where the reaper's image is not to be had.
    testcontainers_config.ryuk_disabled = True
    # Without this an environment that is itself a container is given the bridge's address.
    os.environ.setdefault("TESTCONTAINERS_CONNECTION_MODE", "docker_host")
    password, wanted = secrets.token_hex(16), images()
    rabbitmq = DockerContainer(wanted.rabbitmq).with_exposed_ports(AMQP_PORT, MANAGEMENT_PORT, METRICS_PORT)
    rabbitmq = rabbitmq.with_env("RABBITMQ_DEFAULT_USER", NAME).with_env("RABBITMQ_DEFAULT_PASS", password)
    postgres = DockerContainer(wanted.postgres).with_exposed_ports(DATABASE_PORT)
    for key, value in {"USER": NAME, "PASSWORD": password, "DB": NAME}.items():
        postgres = postgres.with_env(f"POSTGRES_{key}", value)
    try:
        rabbitmq.start()
        postgres.start()
        return _wait(_describe(rabbitmq, postgres, password))
    except Exception as failure:
        for container in (rabbitmq, postgres):
            with suppress(Exception):
                container.stop()
        raise StackError(f"the containers did not start: {type(failure).__name__}") from failure


def remove_containers(ids: tuple[str, ...]) -> None:
    """Remove the containers with their data; those that are gone already are no error."""
    from docker.errors import NotFound  # type: ignore[import-untyped]  # noqa: PLC0415 - no types, for development

    client = _client()
    try:
        for container_id in ids:
            with suppress(NotFound):
                client.containers.get(container_id).remove(force=True, v=True)
    finally:
        client.close()


def _describe(rabbitmq: "DockerContainer", postgres: "DockerContainer", password: str) -> Containers:
    def at(container: "DockerContainer", port: int) -> str:
        return f"{container.get_container_host_ip()}:{container.get_exposed_port(port)}"

    login = f"{NAME}:{password}"
    return Containers(
        ids=tuple(container.get_wrapped_container().id for container in (rabbitmq, postgres)),
        amqp_url=f"amqp://{login}@{at(rabbitmq, AMQP_PORT)}/%2F",
        database_url=f"postgresql://{login}@{at(postgres, DATABASE_PORT)}/{NAME}",
        management_url=f"http://{login}@{at(rabbitmq, MANAGEMENT_PORT)}",
        metrics_url=f"http://{at(rabbitmq, METRICS_PORT)}/metrics",
    )


def _wait(started: Containers) -> Containers:
    deadline = processes.now() + START_PATIENCE_S
    while not (database_answers(started.database_url) and amqp_answers(started.management_url)):
        if processes.now() > deadline:
            raise TimeoutError
        processes.pause()
    return started


def _somebody_listens() -> bool:
    """Asked first: docker's client takes long to load, and leaves its socket open when nobody answers."""
    host = os.environ.get("DOCKER_HOST") or DEFAULT_ENGINE
    if not host.startswith("unix://"):
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(host.removeprefix("unix://"))
        except OSError:
            return False
    return True


def _client() -> "DockerClient":
    if not _somebody_listens():
        raise StackError("no Docker engine answers")
    try:
        import docker  # noqa: PLC0415 - comes with the development requirement testcontainers
    except ModuleNotFoundError:
        raise StackError("containers need the development requirements: run `make setup`") from None
    try:
        client = docker.from_env(timeout=ENGINE_PATIENCE_S)
    except docker.errors.DockerException:
        raise StackError("no Docker engine answers") from None
    try:
        client.ping()
    except (docker.errors.DockerException, OSError):
        client.close()
        raise StackError("no Docker engine answers") from None
    return client
