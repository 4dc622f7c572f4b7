"""Start both private servers at the same time, on ports that turn out to be free."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from cli.stack import rabbitmq, state
from cli.stack.choice import Kind
from cli.stack.errors import PortTaken, StackError
from cli.stack.install import ensure_rabbitmq
from cli.stack.places import ServerUser
from cli.stack.ports import choose_ports
from cli.stack.postgres import Postgres, find_postgres, usable_programs

TRIES = 5
T = TypeVar("T")


def start_private(root: Path, user: ServerUser) -> state.State:
    """Both servers accept connections when this returns.

    Raises StackError; what was started by then is the caller's to end.
    """
    database_programs = find_postgres()
    if database_programs is None:
        raise StackError("PostgreSQL's programs are missing: run `make setup`, or install the package postgresql")
    secret = state.password(root)
    broker = rabbitmq.RabbitMQ(root, user, ensure_rabbitmq(), secret)
    database = Postgres(root, user, usable_programs(database_programs, user), secret)
    before = state.last_ports(root)

    def start_broker(wanted: dict[str, int]) -> tuple[int, dict[str, int]]:
        ports = choose_ports(rabbitmq.PORTS, wanted)
        return broker.start(ports), ports

    def start_database(wanted: dict[str, int]) -> tuple[int, dict[str, int]]:
        ports = choose_ports(["database"], wanted)
        return database.start(ports["database"]), ports

    with ThreadPoolExecutor(2) as pool:
        starts = [pool.submit(_until_ports_are_free, start, before) for start in (start_broker, start_database)]
        (broker_pid, broker_ports), (database_pid, database_ports) = (start.result() for start in starts)
    state.remember_ports(root, broker_ports | database_ports)
    return state.State(
        kind=Kind.PRIVATE,
        amqp_url=broker.amqp_url(broker_ports["amqp"]),
        database_url=database.url(database_ports["database"]),
        management_url=broker.management_url(broker_ports["management"]),
        metrics_url=f"http://127.0.0.1:{broker_ports['metrics']}/metrics",
        pids={"rabbitmq": broker_pid, "postgres": database_pid},
    )


def stop_private(root: Path, user: ServerUser) -> None:
    """Stop both servers so that they find their data in order; what is left of them is the caller's to end."""
    nowhere = Path()
    servers = (rabbitmq.RabbitMQ(root, user, nowhere, ""), Postgres(root, user, nowhere, ""))
    with ThreadPoolExecutor(2) as pool:
        for stopped in [pool.submit(server.stop) for server in servers]:
            stopped.result()


def _until_ports_are_free(start: Callable[[dict[str, int]], T], wanted: dict[str, int]) -> T:
    """Try the wanted ports once, then others."""
    for attempt in range(TRIES):
        try:
            return start({} if attempt else wanted)
        except PortTaken:
            if attempt == TRIES - 1:
                raise
    raise AssertionError  # the last try returns or raises
