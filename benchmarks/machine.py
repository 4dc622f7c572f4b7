"""What the figures were taken on: cores, memory, versions. No names, no paths."""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil

_PACKAGES = ("faststream", "aio-pika", "sqlalchemy", "asyncpg", "pydantic")


async def describe(database_url: str, management_url: str) -> dict[str, Any]:
    """Return what a reader needs to judge the figures."""
    connection = await asyncpg.connect(database_url)
    try:
        postgres = (await connection.fetchval("SHOW server_version")).split()[0]
        durable = {name: await connection.fetchval(f"SHOW {name}") for name in ("fsync", "synchronous_commit")}
    finally:
        await connection.close()
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "system": platform.system(),
        "python": platform.python_version(),
        "postgres": postgres,
        "rabbitmq": await _rabbitmq_version(management_url),
        **durable,
        "packages": {name: metadata.version(name) for name in _PACKAGES},
    }


def peak_memory(pid: int) -> float | None:
    """Return the most memory (MiB) that a process held since it began; None where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(found[0]) / 1024 if found else None


def processor_seconds(pid: int) -> float | None:
    """Return the processor time that a process has used since it began; None where the system does not tell."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return None
    return times.user + times.system


async def _rabbitmq_version(management_url: str) -> str:
    url = httpx.URL(management_url)
    login = httpx.BasicAuth(url.username, url.password)
    async with httpx.AsyncClient(auth=login, trust_env=False) as client:
        answer = await client.get(url.copy_with(username=None, password=None, path="/api/overview"))
    return str(answer.raise_for_status().json()["rabbitmq_version"])
