"""Puts the verifier together, where settings ask for one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.dispatcher.oidc.identities import Verifier
from services.dispatcher.oidc.settings import SigningInSettings


@asynccontextmanager
async def open_verifier(settings: SigningInSettings) -> AsyncIterator[Verifier | None]:
    """Give what checks the issuer's tokens; None where no issuer is named. The issuer is not asked for anything yet."""
    trust = settings.trust
    if trust is None:
        yield None
        return
    # Cryptography loads slowly, and most of it only for this.
    from services.dispatcher.oidc.issuer import IssuerKeys  # noqa: PLC0415  as said
    from services.dispatcher.oidc.keys import KeyCache  # noqa: PLC0415  as said
    from services.dispatcher.oidc.tokens import TokenVerifier  # noqa: PLC0415  as said

    source = IssuerKeys(trust.issuer, settings.oidc_jwks_url, settings.reinstate_mode, timeout=settings.oidc_timeout)
    keys = KeyCache(source, settings.key_bounds)
    try:
        yield TokenVerifier(trust, keys)
    finally:
        await keys.close()
