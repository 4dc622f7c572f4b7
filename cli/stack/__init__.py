"""RabbitMQ and PostgreSQL for one checkout, one demo or one test session.

`start_stack()` gives servers that end with the calling process; `up`, `status` and `down` handle servers that stay.
Where they come from (private processes, containers, servers that run already) is decided by `choice.choose`.
"""

from cli.stack.choice import Kind
from cli.stack.errors import StackError
from cli.stack.lifecycle import Stack, Status, down, start_stack, status, up

__all__ = ["Kind", "Stack", "StackError", "Status", "down", "start_stack", "status", "up"]
