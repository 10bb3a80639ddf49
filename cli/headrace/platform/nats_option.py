"""`--nats URL`: one outside server, or several of a cluster; never a secret among them."""

from __future__ import annotations

from urllib.parse import urlsplit

import click

_SCHEMES = ("nats", "tls")


class NatsUrl(click.ParamType[str]):
    """Addresses with commas between them, without spaces. Arguments are seen by everybody on the
    machine, so a URL with a password in it is refused."""

    name = "URL"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        servers = [one.strip() for one in value.split(",")] if value else []
        for server in servers:
            self._check(server, param, ctx)
        return ",".join(servers)

    def _check(self, server: str, param: click.Parameter | None, ctx: click.Context | None) -> None:
        try:
            parts = urlsplit(server)
            usable = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
        except ValueError:
            parts, usable = urlsplit(""), False
        if "@" in server:
            self.fail(
                "a user name or password in the URL is visible to others; use --nats-creds",
                param,
                ctx,
            )
        if not usable or parts.path.strip("/") or parts.query:
            self.fail(f"{server!r} is not nats://HOST:PORT or tls://HOST:PORT", param, ctx)
