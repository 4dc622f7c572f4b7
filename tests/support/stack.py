"""The servers of a test session: one stack for all workers, a database and a virtual host for each test.

The process that runs pytest owns the stack. Workers of pytest-xdist join it: whoever needs it first starts it.
"""

import asyncio
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from cli.stack import Kind, Stack, admin, down, places, up

ROOT_VARIABLE = "REINSTATE_TEST_STACK_ROOT"
OWNER_VARIABLE = "REINSTATE_TEST_STACK_OWNER"


def open_session() -> None:
    """Called in the process that owns the session; its workers inherit the variables."""
    os.environ[ROOT_VARIABLE] = str(places.fresh_root())
    os.environ[OWNER_VARIABLE] = str(os.getpid())


def close_session() -> None:
    """End the stack if a test started one, and drop what the session left on servers that stay."""
    root = Path(os.environ.pop(ROOT_VARIABLE))
    del os.environ[OWNER_VARIABLE]
    used = root.with_suffix(".external")
    if used.exists():
        used.unlink()
        drop_leftovers(up(), prefix(root))
    down(root, delete=True)
    root.with_suffix(".template").unlink(missing_ok=True)


def session_stack() -> Stack:
    """Start the session's stack, or join it."""
    root = Path(os.environ[ROOT_VARIABLE])
    stack = up(root, owner_pid=int(os.environ[OWNER_VARIABLE]))
    if stack.state.kind is Kind.EXTERNAL:
        marker = root.with_suffix(".external")
        marker.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        marker.touch()
    return stack


def prefix(root: Path) -> str:
    """What every database and virtual host of this session is called first."""
    return "t_" + root.name.replace("-", "_") + "_"


def session_name(kind: str) -> str:
    """A name nobody else has, that tells its session."""
    return f"{prefix(Path(os.environ[ROOT_VARIABLE]))}{kind}_{secrets.token_hex(4)}"


def migrated_template(stack: Stack) -> str:
    """The database of this session that holds the newest schema; the first worker migrates it."""
    from tests.support.roles import migrate_and_let_in  # noqa: PLC0415 - the stack's own tests run without a schema

    root = Path(os.environ[ROOT_VARIABLE])
    name = prefix(root) + "template"
    places.base_folder().mkdir(mode=0o711, parents=True, exist_ok=True)
    lock = root.with_suffix(".template")
    with places.locked(lock):
        if name not in admin.databases(stack.database_url, name):
            # Under its final name only once it is complete: a failed migration must not look like a template.
            unfinished = admin.create_database(stack.database_url, session_name("unfinished"))
            with ThreadPoolExecutor(1) as pool:
                pool.submit(asyncio.run, migrate_and_let_in(unfinished)).result()
            admin.rename_database(stack.database_url, unfinished.rpartition("/")[2], name)
    return name


@contextmanager
def temporary_database(stack: Stack, template: str | None = None) -> Iterator[str]:
    """A database that is dropped afterwards, whoever is still connected."""
    name = session_name("db")
    yield admin.create_database(stack.database_url, name, template)
    admin.drop_database(stack.database_url, name)


@contextmanager
def temporary_vhost(stack: Stack) -> Iterator[str]:
    """A virtual host without any queue, dropped afterwards; gives its address."""
    name = session_name("vhost")
    yield stack.vhost(name)
    admin.drop_vhost(stack.management_url, name)


def drop_leftovers(stack: Stack, beginning: str) -> None:
    """Drop the databases and virtual hosts with this beginning; other people's have another."""
    for name in admin.databases(stack.database_url, beginning):
        admin.drop_database(stack.database_url, name)
    for name in admin.vhosts(stack.management_url, beginning):
        admin.drop_vhost(stack.management_url, name)
