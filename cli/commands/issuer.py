"""`reinstate dev-issuer`: somebody to sign in with where there is no real issuer."""

import os
from typing import Annotated

import typer

from cli.console import CliFailure, ExitCode, reporting, usage

_ONLY_THERE = "export REINSTATE_MODE=development, on a machine where nobody else can reach the dispatcher"


def dev_issuer(
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port on this machine; 0 takes a free one.")] = 0,
    audience: Annotated[str, typer.Option(help="Who its tokens are for: OIDC_AUDIENCE of the dispatcher.")] = (
        "reinstate"
    ),
) -> None:
    """Run an OpenID Connect issuer that vouches for anybody; refuses unless REINSTATE_MODE is development.

    Prints one line of JSON with its address when it listens. `curl -d sub=ada ADDRESS/token` gives a token.
    """
    from shared.runtime.settings import Mode

    with reporting(as_json=False):
        if os.environ.get("REINSTATE_MODE", "").strip() != Mode.DEVELOPMENT:
            raise CliFailure(
                "a development issuer vouches for anybody, and REINSTATE_MODE is not development",
                exit_code=ExitCode.REFUSED,
                code="cli.not_in_production",
                next_step=_ONLY_THERE,
            )
        from simulator.issuer import serve

        try:
            serve(Mode.DEVELOPMENT, port=port, audience=audience, announce=lambda line: print(line, flush=True))
        except OSError as error:
            raise usage(f"cannot listen on port {port}: {error.strerror}", next_step="choose another --port") from None
