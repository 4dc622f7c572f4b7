"""What every answer tells a browser: that it is data, to be shown, run, framed and kept nowhere."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# There are no pages here, so nothing of an answer may load, run, or be sent on. A console's pages need a policy of
# their own, and get it by setting the header themselves.
_ALWAYS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # for what does not know frame-ancestors
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
_TLS = "max-age=31536000; includeSubDomains"  # a year


class SecurityHeaders:
    """Adds them to every answer that has not its own, refusals and defects included.

    Over TLS, or behind a proxy that says so and is trusted to (uvicorn's `--forwarded-allow-ips`), it also asks for TLS
    from then on.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Stand in front of everything else."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and complete the answer's head."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def completed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _ALWAYS.items():
                    headers.setdefault(name, value)
                if scope["scheme"] == "https":
                    headers.setdefault("Strict-Transport-Security", _TLS)
            await send(message)

        await self._app(scope, receive, completed)
