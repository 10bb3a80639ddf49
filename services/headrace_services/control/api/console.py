"""The console port: plain HTTP on loopback for a person and for Prometheus. It changes nothing.

Only requests that name this host as `Host` are answered. There is no login yet,
and nothing private.
"""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from aiohttp import web

from headrace_services.loopback import REFUSED, names_this_host
from headrace_telemetry.metrics import CONTENT_TYPE, Registry

MAX_REQUEST_BYTES: Final = 4096
SAFE: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Headrace</title>
<style>body{{font:16px/1.6 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem;\
color-scheme:light dark}}th{{text-align:left;padding-right:2rem;vertical-align:top}}\
code{{font-size:.95em}}</style>
<h1>Headrace</h1>
<p>{state}</p>
<table>{rows}</table>
<p>The portal is not built yet; until then <code>headrace status</code> and
<code>headrace online-endpoint list</code> say more.</p>
</html>
"""

Middleware = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build_console(
    registry: Registry, is_ready: Callable[[], bool], places: Iterable[tuple[str, str, str]]
) -> web.Application:
    """The application; `places` are rows of name, address and note for the page at `/`."""
    kept = tuple(places)

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=_page(is_ready(), kept), content_type="text/html")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=registry.render(), headers={"Content-Type": CONTENT_TYPE})

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readiness(_: web.Request) -> web.Response:
        ready = is_ready()
        return web.json_response({"ready": ready}, status=200 if ready else 503)

    application = web.Application(middlewares=[_guarded], client_max_size=MAX_REQUEST_BYTES)
    for path, handler in (
        ("/", page),
        ("/metrics", metrics),
        ("/healthz", health),
        ("/readyz", readiness),
    ):
        application.router.add_get(path, handler)
    return application


@web.middleware
async def _guarded(request: web.Request, handler: Middleware) -> web.StreamResponse:
    if not names_this_host(request.headers.get("Host", "")):
        return web.Response(status=403, text=REFUSED, headers=SAFE)
    try:
        response = await handler(request)
    except web.HTTPException as error:
        text = f"{error.status} {error.reason}; there are /, /metrics, /healthz and /readyz\n"
        return web.Response(status=error.status, text=text, headers=SAFE)
    response.headers.update(SAFE)
    return response


def _page(ready: bool, places: Iterable[tuple[str, str, str]]) -> str:
    rows = "\n".join(
        f"<tr><th>{html.escape(name)}</th><td><code>{html.escape(address)}</code>"
        f"{' · ' + html.escape(note) if note else ''}</td></tr>"
        for name, address, note in places
    )
    return _PAGE.format(state="Control is ready." if ready else "Control starts.", rows=rows)
