"""Servers of one test alone, for faults that would hit everybody: alarms, freezes, restarts."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from cli.stack import Kind, Stack, places, start_stack
from cli.stack.install import ensure_rabbitmq
from cli.stack.processes import identity
from cli.stack.rabbitmq import RabbitMQ
from cli.stack.state import last_ports, password

PATIENCE = 60.0  # seconds for one command: each starts an Erlang machine


@contextmanager
def own_stack() -> Iterator[Stack]:
    """RabbitMQ and PostgreSQL as private processes, gone with the block. REINSTATE_STACK has to say `private`."""
    with start_stack() as stack:
        assert stack.state.kind is Kind.PRIVATE
        yield stack


def rabbitmqctl(stack: Stack, *arguments: str) -> None:
    """Run a command of RabbitMQ's own tool on the node of the stack."""
    assert stack.root is not None
    user = places.server_user()
    node = RabbitMQ(stack.root, user, ensure_rabbitmq(), password(stack.root))
    subprocess.run(
        [str(node.programs / "rabbitmqctl"), *arguments],
        env=node.environment(last_ports(stack.root)),
        cwd=node.home,
        check=True,
        capture_output=True,
        timeout=PATIENCE,
        **identity(user),
    )


@contextmanager
def memory_alarm(stack: Stack) -> Iterator[None]:
    """Have the broker believe that it has no memory left: it blocks whoever publishes."""
    rabbitmqctl(stack, "set_vm_memory_high_watermark", "0.0000001")
    try:
        yield
    finally:
        rabbitmqctl(stack, "set_vm_memory_high_watermark", "0.4")
