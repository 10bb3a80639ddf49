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
            services = urlsplit(server)
            usable = services.scheme in _SCHEMES and bool(services.hostname) and services.port != 0
        except ValueError:
            services, usable = urlsplit(""), False
        if "@" in server:
            self.fail("a name or password in the URL is seen by all; use --nats-creds", param, ctx)
        if not usable or services.path.strip("/") or services.query:
            self.fail(f"{server!r} is not nats://HOST:PORT or tls://HOST:PORT", param, ctx)
