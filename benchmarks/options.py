"""What a measurement is asked for, read from the environment that `make bench` sets."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LETTERS = "abcdefghij"


class OptionRefused(ValueError):
    """An option that means nothing; the text says which and what it may be."""


@dataclass(frozen=True, slots=True)
class Options:
    """`rounds` is how often every case is measured; `peers` a folder of other systems' scripts."""

    quick: bool = False
    rounds: int = 3
    only: str = LETTERS
    peers: Path | None = None
    source: Path | None = None
    profile: bool = False


def read_options(environment: Mapping[str, str]) -> Options:
    """Read QUICK, ROUNDS, ONLY, PEERS, SOURCE and PROFILE; empty is unset. Raises `OptionRefused`."""
    quick = bool(environment.get("QUICK"))
    rounds = environment.get("ROUNDS") or ("1" if quick else "3")
    if not rounds.isdigit() or not int(rounds):
        raise OptionRefused("ROUNDS is a number of at least 1")
    wanted = [one.strip() for one in (environment.get("ONLY") or "").split(",") if one.strip()]
    unknown = [one for one in wanted if len(one) != 1 or one not in LETTERS]
    if unknown:
        raise OptionRefused(f"ONLY names cases by letter, out of {', '.join(LETTERS)}: not {', '.join(unknown)}")
    only = "".join(one for one in LETTERS if one in wanted) if wanted else LETTERS
    return Options(
        quick=quick,
        rounds=int(rounds),
        only=only,
        peers=_folder(environment, "PEERS"),
        source=_folder(environment, "SOURCE"),
        profile=bool(environment.get("PROFILE")),
    )


def _folder(environment: Mapping[str, str], name: str) -> Path | None:
    given = environment.get(name)
    if not given:
        return None
    folder = Path(given).resolve()
    if not folder.is_dir():
        raise OptionRefused(f"{name} is no folder")
    return folder
