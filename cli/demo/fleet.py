"""The services as processes: started, waited for, killed and stopped by their own ids."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import aio_pika
import httpx

from cli.broker_logins import address_for, write_address
from cli.console import CliFailure, ExitCode
from cli.stack.doors import own_databases
from cli.stack.ports import choose_ports
from shared.contracts.names import Queue
from shared.messaging.rights import BrokerLogin

START_TIMEOUT: Final = 90.0  # seconds for all services together; one that ends is noticed at once
STOP_TIMEOUT: Final = 15.0
_POLL: Final = 0.05


class Process(Protocol):
    """As much of `subprocess.Popen` as a fleet needs."""

    @property
    def pid(self) -> int:
        """The process's id."""

    @property
    def returncode(self) -> int | None:
        """How it ended, as far as is known; the negative number of the signal that ended it."""

    def poll(self) -> int | None:
        """Look how it ended; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raises `subprocess.TimeoutExpired`."""

    def send_signal(self, number: int, /) -> None:
        """Send a signal, unless the process is known to be gone."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""


Start = Callable[[Sequence[str], Mapping[str, str], Path], Process]
"""Starts `reinstate` with arguments and a whole environment; its output goes to a file."""


def start_process(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Process:
    """Start `reinstate` as any shell would."""
    return _run([sys.executable, "-m", "cli.main", *arguments], environment, log)


def _run(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Process:
    with log.open("wb") as out:
        return subprocess.Popen(  # noqa: S603  our own command
            command,
            env=environment,
            stdout=out,
            stderr=out,
            start_new_session=True,  # Ctrl-C reaches us, and we stop them in order
        )


@dataclass
class Service:
    """One process and the file its log goes to."""

    name: str
    process: Process
    log: Path

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid


@dataclass
class Fleet:
    """The processes of one demonstration or test, all with the same servers."""

    folder: Path
    environment: Mapping[str, str]
    start: Start = start_process
    own: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What one kind of service alone is told, by its name."""
    services: list[Service] = field(default_factory=list)
    url: str = ""
    started: int = 0
    logins: Mapping[str, BrokerLogin] = field(default_factory=dict)  # by service; others sign in as AMQP_URL says

    @property
    def secrets(self) -> Path:
        """The folder of each service's address of the broker; a service reads its own again when it reconnects."""
        return self.folder / "secrets"

    def launch(self, name: str, *arguments: str) -> Service:
        """Start `reinstate serve NAME`; its log goes to a file of its own in the fleet's folder."""
        log = self._next_log(name)
        return self._add(name, self.start(["serve", name, *arguments], self._environment_of(name), log), log)

    def launch_as(self, name: str, command: Sequence[str]) -> Service:
        """Start a service by another command than ours."""
        log = self._next_log(name)
        return self._add(name, _run(command, self._environment_of(name), log), log)

    def beside(self, folder: str, **settings: str) -> "Fleet":
        """Make a fleet with the same servers and other settings, in a folder within this one's."""
        path = self.folder / folder
        path.mkdir()
        elsewhere = settings.get("DATABASE_URL") if self.own else None
        own = own_databases(elsewhere) if elsewhere else self.own
        return Fleet(path, {**self.environment, **settings}, self.start, own, logins=self.logins)

    def launch_all(self, **workers: int) -> None:
        """Start one dispatcher, one notifier and so many of each worker (`restore_worker=2`)."""
        port = choose_ports(["http"])["http"]
        self.url = f"http://127.0.0.1:{port}"
        self.launch("dispatcher", "--port", str(port))
        for name, count in workers.items():
            for _ in range(count):
                self.launch(name.replace("_", "-"))
        self.launch("notifier")

    async def ready(self) -> None:
        """Wait until the API answers, commands are consumed and every worker takes work.

        Raises `CliFailure` that names the service that ended, or that did not come up in time, and its log.
        """
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await self._until_api_is_ready()
                await self._until_consumed()
        except TimeoutError:
            raise self._failure("the services did not come up in time") from None

    def of(self, name: str) -> list[Service]:
        """Return the services of one name that were started."""
        return [service for service in self.services if service.name == name]

    def kill(self, pid: int) -> Service:
        """End one of our processes with SIGKILL. Raises `ValueError` when the id is not ours."""
        return self.end(pid, signal.SIGKILL)

    def end(self, pid: int, number: signal.Signals = signal.SIGTERM) -> Service:
        """Send one of our processes a signal and wait for its end; `process.returncode` tells how it ended.

        Raises `ValueError` when the id is not ours, `subprocess.TimeoutExpired` when it does not end.
        """
        for service in self.services:
            if service.pid == pid:
                service.process.send_signal(number)
                service.process.wait(STOP_TIMEOUT)
                self.services.remove(service)
                return service
        raise ValueError("that process is none of this fleet")

    def stop(self) -> dict[str, int]:
        """Ask all to stop, workers and notifier before the dispatcher; return their exit codes by log name."""
        codes: dict[str, int] = {}
        for batch in ([s for s in self.services if s.name != "dispatcher"], self.of("dispatcher")):
            for service in batch:
                service.process.terminate()
            for service in batch:
                try:
                    codes[service.log.stem] = service.process.wait(STOP_TIMEOUT)
                except subprocess.TimeoutExpired:
                    service.process.kill()
                    codes[service.log.stem] = service.process.wait()
        self.services.clear()
        return codes

    def _environment_of(self, name: str) -> dict[str, str]:
        environment = {**os.environ, **self.environment, **self.own.get(name, {})}
        if (login := self.logins.get(name)) is not None:
            file = write_address(self.secrets, name, address_for(login, environment.pop("AMQP_URL")))
            environment["AMQP_URL_FILE"] = str(file)
            environment.pop("RABBITMQ_MANAGEMENT_URL", None)  # an administrator's
        return environment

    def _next_log(self, name: str) -> Path:
        self.started += 1
        return self.folder / f"{name}-{self.started}.log"

    def _add(self, name: str, process: Process, log: Path) -> Service:
        self.services.append(Service(name, process, log))
        return self.services[-1]

    async def _until_api_is_ready(self) -> None:
        async with httpx.AsyncClient(base_url=self.url) as client:
            while True:
                self._check_alive()
                try:
                    answer = await client.get("/readyz")
                except httpx.TransportError:
                    await asyncio.sleep(_POLL)
                    continue
                if answer.is_success and "waiting" not in answer.text:
                    return
                await asyncio.sleep(_POLL)

    async def _until_consumed(self) -> None:
        expected = {
            Queue.RESTORE_INTERACTIVE: len(self.of("restore-worker")),
            Queue.BULK_BACKGROUND: len(self.of("bulk-worker")),
            Queue.NOTIFIER_EVENTS: len(self.of("notifier")),
        }
        connection = await aio_pika.connect(self.environment["AMQP_URL"])
        async with connection, connection.channel() as channel:
            for name, consumers in expected.items():
                while True:
                    self._check_alive()
                    queue = await channel.declare_queue(name.value, passive=True)
                    if (queue.declaration_result.consumer_count or 0) >= consumers:
                        break
                    await asyncio.sleep(_POLL)

    def _check_alive(self) -> None:
        for service in self.services:
            if service.process.poll() is not None:
                raise self._failure(f"{service.name} ended with status {service.process.returncode}")

    def _failure(self, message: str) -> CliFailure:
        return CliFailure(
            message, exit_code=ExitCode.FAILED, code="demo.service_failed", next_step=f"look into {self.folder}"
        )
