"""`reinstate serve` and the signal that comes before the service is there."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.commands.serve import Service

ROOT = Path(__file__).parents[3]
PATIENCE = 30.0  # seconds
NOBODY = {"AMQP_URL": "amqp://guest:guest@127.0.0.1:1/", "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}


def catches(pid: int, number: signal.Signals) -> bool:
    """Tell whether a process has a handler for the signal."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    [mask] = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(mask, 16) & (1 << (number - 1)))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells which signals a process handles")
@pytest.mark.parametrize("service", list(Service))
def test_a_service_that_is_asked_to_stop_while_it_starts_ends_with_0(service: Service) -> None:
    command = [sys.executable, "-m", "cli.main", "serve", service.value, "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **NOBODY}) as process:
        until = time.monotonic() + PATIENCE
        while not catches(process.pid, signal.SIGTERM):
            assert process.poll() is None, "it ended by itself"
            assert time.monotonic() < until, "it never heeds the signal"
        process.terminate()

        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("service", [Service.DISPATCHER, Service.RESTORE_WORKER, Service.BULK_WORKER])
@pytest.mark.parametrize("keys", ["", "main=env:REINSTATE_NOT_SET", "main=file:/nowhere"])
def test_a_service_that_reads_what_is_sealed_does_not_start_without_a_key(service: Service, keys: str) -> None:
    command = [sys.executable, "-m", "cli.main", "serve", service.value, "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if name != "KEY_ENCRYPTION_KEYS"}
    environment |= {**NOBODY, **({"KEY_ENCRYPTION_KEYS": keys} if keys else {})}
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, timeout=PATIENCE * 2, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 2
    assert "settings are missing or wrong: KEY_ENCRYPTION_KEYS" in ended.stderr
