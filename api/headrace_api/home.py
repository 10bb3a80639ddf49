"""Where the platform keeps what it has on disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT_VARIABLE = "HEADRACE_HOME"


@dataclass(frozen=True, slots=True)
class Home:
    """The folders and files below one data directory. Nothing is created here."""

    root: Path

    @classmethod
    def find(cls, flag: str | None = None) -> Home:
        """Resolve `--home` > HEADRACE_HOME > ~/.local/state/headrace."""
        chosen = flag or os.environ.get(ENVIRONMENT_VARIABLE) or "~/.local/state/headrace"
        return cls(Path(chosen).expanduser().absolute())

    @property
    def ca(self) -> Path:
        """The local CA's certificate, readable by all."""
        return self.root / "ca.pem"

    @property
    def token(self) -> Path:
        """The admin's bearer token, mode 0600."""
        return self.root / "token"

    @property
    def run(self) -> Path:
        """Pid records, the status card and the logs of the platform's own processes."""
        return self.root / "run"

    @property
    def tls(self) -> Path:
        """The CA's key and the servers' certificates, mode 0700."""
        return self.root / "tls"

    @property
    def nats(self) -> Path:
        """The embedded server: keys, configuration, credentials, JetStream's store; mode 0700."""
        return self.root / "nats"

    @property
    def credentials(self) -> Path:
        """One `<role>.creds` file for each service role, mode 0600 each."""
        return self.nats / "creds"

    @property
    def blobs(self) -> Path:
        """Bytes by digest."""
        return self.root / "blobs"

    @property
    def environments(self) -> Path:
        """Virtual environments by digest."""
        return self.root / "environments"

    @property
    def interpreters(self) -> Path:
        """Pythons that an environment asked for and this machine lacked, as uv installs them."""
        return self.root / "interpreters"

    @property
    def assets(self) -> Path:
        """Unpacked models and code by digest, shared by instances and never written after."""
        return self.root / "assets"

    @property
    def instances(self) -> Path:
        """One folder an instance: launch.json, nats.creds, record.json and logs."""
        return self.root / "instances"

    @property
    def attached(self) -> Path:
        """Instances that somebody started by hand: launch.json, nats.creds and logs."""
        return self.root / "attached"
