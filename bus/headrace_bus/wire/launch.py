"""What an instance is started with: everything a scorer needs, in one record without secrets.

Control writes it to `<home>/instances/<iid>/launch.json` (0600) before the process starts; secrets
resolved for the deployment's environment variables are in `environment_variables`, which is why the
file is private and the record never goes on the bus.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from headrace_api.private_files import write_private
from headrace_api.record import Unreadable, load_json
from headrace_bus.errors import MalformedEnvelope
from headrace_bus.wire.heartbeat import DEPLOYMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetFile:
    """One file of a model or of code, by content."""

    path: str
    """Relative, with '/' between parts, never '..' or absolute."""
    digest: str
    """SHA-256 in hex."""
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSpec:
    """What the user's interpreter and packages are. Equal specs share one build."""

    conda: str = ""
    """Text of the conda file, or empty."""
    requirements: str = ""
    """Text of a requirements file, or empty."""
    image: str = ""
    """Ignored by process compute beside a conda file, with a warning."""
    name: str = ""
    """For messages only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """azure_behaviour.md 1.5, in seconds."""

    initial_delay_s: float = 10.0
    period_s: float = 10.0
    timeout_s: float = 2.0
    success_threshold: int = 1
    failure_threshold: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One instance to be."""

    iid: str
    endpoint: str
    deployment: str
    revision: int
    """Of the deployment's spec; instances of an older one are replaced."""
    owner: str = DEPLOYMENT
    """The kind of what it belongs to (`wire.heartbeat`)."""
    model_name: str = ""
    model_version: str = ""
    model_files: tuple[AssetFile, ...] = ()
    """Below `$AZUREML_MODEL_DIR`: the file itself, or the folder with its own name kept."""
    model_mount_path: str = ""
    code_files: tuple[AssetFile, ...] = ()
    """Below `AML_APP_ROOT`."""
    scoring_script: str = ""
    """Relative to the code folder."""
    environment: EnvironmentSpec = field(default_factory=EnvironmentSpec)
    environment_variables: dict[str, str] = field(default_factory=dict)
    max_concurrent: int = 1
    request_timeout_ms: int = 5_000
    liveness: Probe = field(default_factory=Probe)
    readiness: Probe = field(default_factory=Probe)
    idempotent: bool = True
    nats_url: str = ""
    bytes_url: str = ""
    """Signed address of the bytes by digest, for a home that lacks them: `...?<signature>`, with
    `/<digest>` to be put before the '?'. Empty where the home is control's own."""

    def write(self, path: Path) -> None:
        """Write it with mode 0600."""
        write_private(path, json.dumps(asdict(self), indent=1), sync=False)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises OSError, or MalformedEnvelope when the file is not a launch record."""
        return cls.decode(path.read_bytes())

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises MalformedEnvelope."""
        try:
            return load_json(cls, data)
        except Unreadable as error:
            raise MalformedEnvelope("launch record", str(error)) from error
