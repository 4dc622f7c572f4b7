"""Logs tell no secrets, settings say what is wrong with them, and a dead task is noticed."""

import asyncio
import io
import json
import logging
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
import structlog
from pydantic import ValidationError

from shared.domain.errors import SafeCode, TransientError
from shared.runtime.clock import SystemClock
from shared.runtime.ids import new_id
from shared.runtime.settings import ServiceSettings
from shared.runtime.tasks import BackgroundTasks

CANARY = "hunter2"


def only(lines: io.StringIO) -> dict[str, object]:
    (line,) = lines.getvalue().splitlines()
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def test_a_line_is_one_json_object_with_action_service_and_context(lines: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(message_id="m-1"):
        structlog.get_logger("any").info("run.claimed", epoch=3)

    line = only(lines)
    assert line.pop("timestamp")
    assert line == {"action": "run.claimed", "service": "restore", "level": "info", "epoch": 3, "message_id": "m-1"}


@pytest.mark.parametrize(
    "fields",
    [
        {"password": CANARY},
        {"client_secret": CANARY},
        {"Authorization": f"Bearer {CANARY}"},
        {"database_url": f"postgresql://x:{CANARY}@db/x"},
        {"body": {"name": CANARY}},
        {"detail": {"deep": [{"access_token": CANARY}]}},
        {"reason": f"no answer from amqp://guest:{CANARY}@broker:5672"},
        {"raw": CANARY.encode()},
    ],
)
def test_secrets_and_payloads_are_blanked(lines: io.StringIO, fields: dict[str, object]) -> None:
    structlog.get_logger("any").error("something.failed", **fields)

    assert CANARY not in lines.getvalue()
    assert only(lines)["action"] == "something.failed"


def test_an_error_is_named_without_its_text_or_trace(lines: io.StringIO) -> None:
    try:
        int(CANARY)
    except ValueError:
        structlog.get_logger("any").exception("something.failed")

    line = only(lines)
    assert CANARY not in lines.getvalue()
    assert "Traceback" not in lines.getvalue()
    assert line["error_type"] == "ValueError"
    assert "test_runtime:" in str(line["error_at"])


def test_an_error_of_ours_brings_its_code(lines: io.StringIO) -> None:
    structlog.get_logger("any").error("task.crashed", exc_info=TransientError(SafeCode.GRAPH_UNAVAILABLE))

    assert only(lines)["code"] == "graph.unavailable"


def test_libraries_are_heard_from_warnings_on_and_in_the_same_form(lines: io.StringIO) -> None:
    logger = logging.getLogger("aio_pika")
    logger.info("connected")
    logger.warning("lost %s", f"amqp://guest:{CANARY}@broker")

    line = only(lines)
    assert (line["action"], line["logger"], line["level"]) == ("library.message", "aio_pika", "warning")
    assert line["text"] == "lost amqp://broker"


def test_a_library_s_error_text_is_dropped_because_it_repeats_payloads(lines: io.StringIO) -> None:
    logging.getLogger("faststream").error("ValueError: %s", CANARY, exc_info=ValueError(CANARY))

    assert CANARY not in lines.getvalue()
    assert only(lines)["error_type"] == "ValueError"


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQP_URL", f"amqp://u:{CANARY}@broker/v")
    monkeypatch.setenv("DATABASE_URL", f"postgresql+asyncpg://u:{CANARY}@db/x")
    monkeypatch.delenv("RABBITMQ_MANAGEMENT_URL", raising=False)

    settings = ServiceSettings()

    assert settings.amqp_url.get_secret_value() == f"amqp://u:{CANARY}@broker/v"
    assert settings.rabbitmq_management_url is None
    assert CANARY not in repr(settings)


def test_a_bad_setting_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQP_URL", "amqp://u@broker/v")
    monkeypatch.setenv("DATABASE_URL", f"mysql://u:{CANARY}@db/x")

    with pytest.raises(ValidationError) as refused:
        ServiceSettings()

    assert "database_url" in str(refused.value)
    assert "postgresql://" in str(refused.value)
    assert CANARY not in str(refused.value)


def test_every_setting_has_a_description() -> None:
    assert all(field.description for field in ServiceSettings.model_fields.values())


def test_ids_sort_by_the_time_they_were_made() -> None:
    ids = [new_id() for _ in range(1000)]

    assert ids == sorted(ids)
    assert {(i.version, i.variant) for i in ids} == {(7, "specified in RFC 4122")}


def test_the_clock_knows_its_time_zone() -> None:
    clock = SystemClock()

    assert clock.now().utcoffset() is not None
    assert clock.monotonic() <= clock.monotonic()


async def test_a_crashed_task_takes_the_process_down_once() -> None:
    crashed = asyncio.Event()
    calls: list[int] = []
    tasks = BackgroundTasks(on_crash=lambda: (calls.append(1), crashed.set())[0])

    async def crash() -> None:
        raise RuntimeError("a defect")

    tasks.spawn(crash(), name="one")
    tasks.spawn(crash(), name="two")

    await asyncio.wait_for(crashed.wait(), 5)
    await tasks.stop()
    assert tasks.exit_code == 1
    assert calls == [1]


async def test_a_task_that_dies_of_a_cancellation_that_nobody_asked_for_has_crashed() -> None:
    """Clients end what waits for a lost connection with a `CancelledError`; who is asked to end has not crashed."""
    crashed = asyncio.Event()
    tasks = BackgroundTasks(on_crash=crashed.set)

    async def ended_by_a_library() -> None:
        answer = asyncio.get_running_loop().create_future()
        answer.cancel()
        await answer

    asked = tasks.spawn(asyncio.Event().wait(), name="asked")  # type: ignore[arg-type]  # it returns nothing of use
    asked.cancel()
    await asyncio.wait([asked])
    assert (tasks.exit_code, crashed.is_set()) == (0, False)

    tasks.spawn(ended_by_a_library(), name="relay")

    await asyncio.wait_for(crashed.wait(), 5)
    assert tasks.exit_code == 1


@pytest.mark.crashes
async def test_by_default_the_process_is_asked_to_end() -> None:
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    tasks = BackgroundTasks()

    async def crash() -> None:
        raise RuntimeError(os.devnull)

    tasks.spawn(crash(), name="one")

    await asyncio.wait_for(asked.wait(), 5)
    asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
    assert tasks.exit_code == 1


async def test_stopping_waits_for_tasks_and_then_cancels_them() -> None:
    tasks = BackgroundTasks(on_crash=lambda: pytest.fail("nothing crashed"))
    told, ended = asyncio.Event(), []

    async def polite() -> None:
        await told.wait()
        ended.append("polite")

    async def stubborn() -> None:
        await asyncio.get_running_loop().create_future()

    tasks.spawn(polite(), name="polite")
    stuck = tasks.spawn(stubborn(), name="stubborn")
    told.set()

    await tasks.stop(patience=0.05)

    assert ended == ["polite"]
    assert stuck.cancelled()
    assert tasks.exit_code == 0


async def test_a_stop_is_bounded_though_a_task_will_not_be_cancelled() -> None:
    tasks, release = BackgroundTasks(), asyncio.Event()

    async def deaf() -> None:
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await release.wait()

    tasks.spawn(deaf(), name="deaf")
    async with asyncio.timeout(10):
        await tasks.stop(patience=0.05)
        release.set()
        await tasks.stop()


async def test_some_tasks_are_stopped_and_the_others_go_on() -> None:
    tasks = BackgroundTasks()
    forever = asyncio.get_running_loop().create_future
    first = tasks.spawn(_until(forever()), name="first")
    second = tasks.spawn(_until(forever()), name="second")

    await tasks.stop(patience=0.05, only=(first,))

    assert (first.cancelled(), second.done()) == (True, False)
    await tasks.stop(patience=0.05)
    assert second.cancelled()


async def _until(done: "asyncio.Future[None]") -> None:
    await done


def test_an_address_may_come_from_a_file_and_is_what_the_file_says_now(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AMQP_URL", "amqp://not:this@nowhere/")
    for name in ("amqp", "database"):
        scheme = {"amqp": "amqp", "database": "postgresql"}[name]
        (tmp_path / name).write_text(f"{scheme}://user:first@host/x\n")
        monkeypatch.setenv(f"{name.upper()}_URL_FILE", str(tmp_path / name))
    settings = ServiceSettings()

    assert settings.amqp_url.get_secret_value() == settings.current_amqp_url() == "amqp://user:first@host/x"
    (tmp_path / "amqp").write_text("amqp://user:second@host/x")
    (tmp_path / "database").unlink()

    assert settings.current_amqp_url() == "amqp://user:second@host/x"
    assert settings.current_database_url() == "postgresql://user:first@host/x"  # the last one known


def test_a_file_without_an_address_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:password@host/x")
    monkeypatch.delenv("AMQP_URL", raising=False)
    (tmp_path / "amqp").write_text("hunter2")
    monkeypatch.setenv("AMQP_URL_FILE", str(tmp_path / "amqp"))
    with pytest.raises(ValidationError) as wrong:
        ServiceSettings()
    monkeypatch.setenv("AMQP_URL_FILE", str(tmp_path / "missing"))
    with pytest.raises(ValidationError) as missing:
        ServiceSettings()

    assert "hunter2" not in str(wrong.value)
    assert {error["loc"] for error in missing.value.errors()} == {("amqp_url",), ("amqp_url_file",)}
