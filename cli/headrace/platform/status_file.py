"""What is known of a platform: `<home>/run/status.json`, and and how people see it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from headrace.platform.ports import HOST, Ports
from headrace_api.home import Home
from headrace_api.private_files import write_private
from headrace_scaler.compute.processes import ProcessId

SHOWN = (
    "state",
    "pid",
    "control_url",
    "ingress_url",
    "http_url",
    "console_url",
    "nats_url",
    "ca_path",
    "home",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusFile:
    """One platform; its first fields are what `headrace status -o json` prints."""

    state: str
    """starting, running, degraded, stopping or down."""
    pid: int
    """Of the supervisor; 0 when none lives."""
    control_url: str
    ingress_url: str
    http_url: str
    console_url: str
    nats_url: str
    ca_path: str
    home: str
    started: str = ""
    """Of the supervisor, see ProcessId."""
    unhealthy: tuple[str, ...] = ()
    """Parts that do not answer."""

    @classmethod
    def of(cls, home: Home, ports: Ports, *, state: str, nats_url: str) -> Self:
        """The status of this very process as the supervisor."""
        from headrace_scaler.compute.processes import identify

        me = identify(os.getpid())
        return cls(
            state=state,
            pid=os.getpid(),
            started=me.started if me else "",
            control_url=os.environ.get("HEADRACE_CONTROL_URL") or _https(ports.control),
            ingress_url=os.environ.get("HEADRACE_INGRESS_URL") or _https(ports.ingress),
            http_url=f"http://{HOST}:{ports.http}",
            console_url=f"http://{HOST}:{ports.console}",
            nats_url=nats_url,
            ca_path=str(home.ca),
            home=str(home.root),
        )

    @classmethod
    def read(cls, home: Home) -> Self | None:
        """What a supervisor last wrote; None when there is nothing readable."""
        try:
            fields = json.loads(path_of(home).read_bytes())
            return cls(**fields | {"unhealthy": tuple(fields.get("unhealthy", ()))})
        except (OSError, ValueError, TypeError, AttributeError):
            return None

    def write(self, home: Home) -> None:
        """Replace the file in one step; readers never see half of it."""
        home.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path_of(home), json.dumps(asdict(self), indent=1), sync=False)

    @property
    def supervised(self) -> bool:
        """Whether the supervisor that wrote it still lives."""
        return ProcessId(self.pid, self.started).alive()

    def public(self) -> dict[str, Any]:
        """What `status -o json` shows."""
        fields = asdict(self)
        shown = {name: fields[name] for name in SHOWN}
        return shown | ({"unhealthy": list(self.unhealthy)} if self.unhealthy else {})

    def environment(self) -> dict[str, str]:
        """Lines for a shell's `eval`."""
        return {
            "HEADRACE_HOME": self.home,
            "HEADRACE_CONTROL_URL": self.control_url,
            "HEADRACE_INGRESS_URL": self.ingress_url,
            "HEADRACE_HTTP_URL": self.http_url,
            "HEADRACE_NATS_URL": self.nats_url,
            "REQUESTS_CA_BUNDLE": self.ca_path,
        }

    def lines(self) -> list[str]:
        """What the terminal shows of a running platform."""
        rows = [
            ("Control", self.control_url, "SDK, az rest, CLI"),
            ("Scoring", self.http_url, f"loopback only; TLS on {self.ingress_url}"),
            ("Console", self.console_url, "no login yet; metrics on /metrics"),
            ("State", short(self.home), "headrace down keeps it, headrace down --purge removes it"),
        ]
        width = max(len(value) for _, value, _ in rows) + 3
        return [f"  {name:<9} {value:<{width}}{note}".rstrip() for name, value, note in rows]


def path_of(home: Home) -> Path:
    return home.run / "status.json"


def down(home: Home) -> StatusFile:
    """The status of a platform that is down; URLs are those of its last run, if it had one."""
    last = StatusFile.read(home)
    known: Mapping[str, Any] = asdict(last) if last else {}
    urls: dict[str, Any] = {
        name: str(known.get(name, "")) for name in SHOWN if name.endswith("_url")
    }
    return StatusFile(
        state="down",
        pid=0,
        ca_path=str(home.ca),
        home=str(home.root),
        **urls,
    )


def short(path: str) -> str:
    """With `~` for the user's own folder."""
    own = str(Path.home())
    return "~" + path[len(own) :] if path.startswith(own + "/") else path


def _https(port: int) -> str:
    return f"https://localhost:{port}"
