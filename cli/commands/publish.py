"""`reinstate publish`: sends a command over the broker as an upstream system does, signed."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import JsonFlag, Output, reporting, run, usage

if TYPE_CHECKING:
    from shared.contracts.catalogue import Command
    from shared.messaging.signing import Signer

KEY_VARIABLE = "REINSTATE_SIGNING_KEY"


def publish(
    command: Annotated[
        str, typer.Argument(help="restore_run.start, bulk_operation_run.start or run.abort.", show_default=False)
    ],
    file: Annotated[str, typer.Argument(help="The command's JSON; - reads standard input.")] = "-",
    message_id: Annotated[
        str | None, typer.Option(help="What makes a repetition harmless (default: a new one, which is printed).")
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help=f"What `upstream add --key-file` wrote (default: the key in {KEY_VARIABLE})."),
    ] = None,
    unsigned: Annotated[bool, typer.Option("--unsigned", help="Sign nothing: for development.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Publish a command to the broker of AMQP_URL, signed. Its run tells of itself by events."""
    with reporting(as_json) as output:
        signer = None if unsigned else _signer(key_file)
        run(_publish(output, _command(command, _text(file)), message_id, signer))


def _text(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise usage(f"{file} cannot be read ({type(error).__name__})") from None


def _command(name: str, text: str) -> "Command":
    from pydantic import ValidationError

    from shared.contracts.catalogue import COMMAND_KEYS, MODELS

    kinds = {key.value: kind for kind, key in COMMAND_KEYS.items()}
    if name not in kinds:
        raise usage(f"there is no command {name}", next_step=f"it is one of {', '.join(kinds)}")
    try:
        made = MODELS[kinds[name]].model_validate_json(text)
    except ValidationError as error:
        places = sorted({".".join(map(str, one["loc"])) or "JSON" for one in error.errors(include_input=False)})
        raise usage(f"that is no {name}: {', '.join(places)}", next_step="see docs/reference/asyncapi.json") from None
    return made  # type: ignore[return-value]  # every kind of `COMMAND_KEYS` is a command's


def _signer(key_file: Path | None) -> "Signer":
    """Read the private key; no error shows any of it."""
    from shared.messaging.signing import Signer

    text = os.environ.get(KEY_VARIABLE, "").strip()
    if key_file is not None:
        text = _key_in(_text(str(key_file)))
    if not text:
        advice = f"set {KEY_VARIABLE} or give --key-file; where signatures are optional: --unsigned"
        raise usage("there is no key to sign with", next_step=advice, code="cli.setting_missing")
    try:
        return Signer.read(text)
    except ValueError as error:
        raise usage(str(error), next_step="reinstate upstream rotate makes a new one") from None


def _key_in(text: str) -> str:
    """Return the key of a file: a line, or the document of `upstream add`."""
    try:
        document = json.loads(text)
    except ValueError:
        return text.strip()
    found = document.get("signing_key") if isinstance(document, dict) else None
    return found if isinstance(found, str) else ""


async def _publish(output: Output, command: "Command", message_id: str | None, signer: "Signer | None") -> None:
    from cli.settings import amqp_url
    from shared.contracts.catalogue import type_of
    from shared.messaging.publisher import ConfirmedPublisher
    from shared.runtime.ids import new_id

    named = message_id or str(new_id())
    if not named.isprintable() or not 0 < len(named.encode()) <= 255:  # noqa: PLR2004  what AMQP can carry
        raise usage("a message id is up to 255 bytes of printable text")
    async with ConfirmedPublisher(amqp_url(), "cli") as publisher:
        await publisher.publish_command(command, message_id=named, signer=signer)
    document = {"message_id": named, "type": type_of(command).value, "key_id": signer.key_id if signer else None}
    output.result(document, lambda console: console.print(named, markup=False, highlight=False))
