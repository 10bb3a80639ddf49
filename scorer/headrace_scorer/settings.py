"""Where one scorer finds its instance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace_api.home import Home

LAUNCH: Final = "launch.json"
CREDENTIALS: Final = "nats.creds"
SERVER_LOG: Final = "inference-server.log"
INITIALIZER_LOG: Final = "storage-initializer.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One instance, from its folder below the home."""

    home: Home
    iid: str
    parent: Path | None = None
    """Where the instance's folder lies; None is among those that control keeps."""
    drain_s: float = 30.0
    """Bound of the drain after SIGTERM."""
    lonely_s: float = 600.0
    """Seconds without NATS after which the scorer ends itself."""
    hung_grace_s: float = 5.0
    """What a worker gets past SCORING_TIMEOUT_MS to answer by itself before it is killed."""
    backoff_s: tuple[float, float] = (1.0, 30.0)
    """First and longest wait before a worker that died before ready is started again."""

    @property
    def folder(self) -> Path:
        return (self.parent or self.home.instances) / self.iid

    @property
    def launch(self) -> Path:
        return self.folder / LAUNCH

    @property
    def credentials(self) -> Path | None:
        """None where the server asks for no credentials."""
        path = self.folder / CREDENTIALS
        return path if path.is_file() and path.stat().st_size else None
