"""`python -m cli.stack up | status | down | install`, with `--json` for programs."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from cli.stack import Stack, StackError, down, status, up
from cli.stack.install import ensure_rabbitmq
from cli.stack.state import State


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; exit code 1 where the stack is not running or could not be started."""
    parser = argparse.ArgumentParser(prog="python -m cli.stack", description="The local RabbitMQ and PostgreSQL.")
    parser.add_argument("command", choices=("up", "status", "down", "install"))
    parser.add_argument("--root", type=Path, help="the folder of data and logs (default: one for this checkout)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    root = given.root.absolute() if given.root else None
    try:
        shown, code = _run(given.command, root)
    except StackError as problem:
        shown, code = {"error": str(problem)}, 1
    if given.json:
        print(json.dumps(shown))
    else:
        for name, value in shown.items():
            print(f"{name}: {value}", file=sys.stderr if name == "error" else sys.stdout)
    return code


def _run(command: str, root: Path | None) -> tuple[dict[str, object], int]:
    if command == "install":
        return {"rabbitmq": str(ensure_rabbitmq())}, 0
    if command == "down":
        return {"running": False, "was_running": down(root)}, 0
    if command == "up":
        stack = up(root)
        return {"running": True, "root": str(stack.root or ""), **_describe(stack.state), **_keys(stack)}, 0
    found = status(root)
    described = _describe(found.state) if found.state else {}
    return {"running": found.running, "root": str(found.root), **described}, 0 if found.running else 1


def _keys(stack: Stack) -> dict[str, object]:
    return {"KEY_ENCRYPTION_KEYS": stack.key_encryption_keys} if stack.key_encryption_keys else {}


def _describe(state: State) -> dict[str, object]:
    return {
        "kind": state.kind.value,
        "AMQP_URL": state.amqp_url,
        "DATABASE_URL": state.database_url,
        "RABBITMQ_MANAGEMENT_URL": state.management_url,
        "metrics_url": state.metrics_url,
        "ready_after_s": state.ready_after_s,
        "pids": state.pids,
    }


if __name__ == "__main__":
    sys.exit(main())
