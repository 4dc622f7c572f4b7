"""`python -m simulator`: start a simulator and print one line of JSON with its address."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from simulator.server import serve
from simulator.settings import SimulatorSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal ends it; 2 when an option is wrong."""
    options = {name: value for name, value in vars(_parser().parse_args(arguments)).items() if value is not None}
    try:
        settings = SimulatorSettings.model_validate(options)
    except ValidationError as error:
        for one in error.errors(include_input=False, include_url=False):
            sys.stderr.write(f"--{'.'.join(map(str, one['loc']))}: {one['msg']}\n")
        return 2
    serve(settings, _say)
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulator", description="A Microsoft Graph for tests.")
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="TCP port; 0 takes a free one (0)")
    parser.add_argument("--tenants", type=int, help="tenants to make (3)")
    parser.add_argument("--seed", type=int, help="decides ids, jitter and order (1)")
    parser.add_argument("--journal", type=Path, help="file that every request is appended to")
    parser.add_argument("--ready-file", type=Path, help="file that gets address and sign-in data when it listens")
    parser.add_argument("--sample", action="store_true", default=None, help="load the sample into the first tenant")
    parser.add_argument("--load", type=Path, help="load a folder of exported policies into the first tenant")
    parser.add_argument("--token-lifetime-s", type=int, help="seconds until a token expires (3599)")
    parser.add_argument("--throttle-scale", type=float, help="share of Graph's request limits in force; 0: none (0)")
    parser.add_argument("--latency-ms", type=float, help="mean time that a request takes (0)")
    parser.add_argument("--latency-jitter", type=float, help="share of the mean by which it varies (0.5)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
