"""The peers, each as its own documentation tunes it, with one scorer.

Of the 20 ms model a scorer runs 16 at once: in async handlers, or in as many workers where a worker
runs one request at a time. The heavy tail has four scorers that run one at a time.
"""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

from bench.servers import APPS, SCORING, Peer, Server, free_port
from bench.workloads import Workload

_UVICORN: Final = ("uvloop", "httptools")
"""What uvicorn uses where it is installed, and is fastest with."""
_UVLOOP_OF_MLSERVER: Final = "uvloop==0.21.0"
"""MLServer needs one; its parallel workers end at their start with a later one (1.7.1)."""


class PlainAiohttp(Peer):
    """The yardstick: a bare handler in one process, so without a form for several scorers."""

    name = "aiohttp"
    workloads: ClassVar[frozenset[str]] = Server.workloads - {"heavy"}
    packages: ClassVar[tuple[str, ...]] = ("aiohttp", "uvloop")

    def command(self, port: int, workload: Workload) -> Sequence[str]:
        return (str(APPS / "plain_aiohttp.py"), str(port))


class AiohttpOlderUvloop(PlainAiohttp):
    """The yardstick with the loop that writes what one turn has for many clients back to back.

    Later ones write each answer at once, and wake a client of many connections for each: on a box
    where a wake is dear this one is a third faster.
    """

    name = "aiohttp+uvloop0.21"
    workloads: ClassVar[frozenset[str]] = frozenset({"echo", "ridge"})
    packages: ClassVar[tuple[str, ...]] = ("aiohttp", "uvloop==0.21.0")


class Null(PlainAiohttp):
    """Shows the load generator's own ceiling."""

    def command(self, port: int, workload: Workload) -> Sequence[str]:
        return (str(APPS / "null.py"), str(port))


class AzureServer(Peer):
    """Azure's own inference server; its workers run plain `run` functions only, one at a time."""

    name = "azureml-inference-server-http"
    packages: ClassVar[tuple[str, ...]] = ("azureml-inference-server-http",)
    environment: ClassVar[dict[str, str]] = {"AZUREML_MODEL_DIR": "."}
    takes_its_worker: ClassVar[bool] = True

    def command(self, port: int, workload: Workload) -> Sequence[str]:
        script = SCORING / ("score.py" if workload.name == "sleep20" else workload.script)
        words = ("-m", "azureml_inference_server_http", "--entry_script", str(script))
        return (*words, "--port", str(port), "--worker_count", str(self.workers(workload)))


class FastApi(Peer):
    name = "fastapi"
    packages: ClassVar[tuple[str, ...]] = ("fastapi", "uvicorn", *_UVICORN)

    def command(self, port: int, workload: Workload) -> Sequence[str]:
        return (str(APPS / "fastapi_app.py"), str(port))


class Mosec(Peer):
    name = "mosec"
    packages: ClassVar[tuple[str, ...]] = ("mosec",)
    path: ClassVar[str] = "/inference"
    takes_its_worker: ClassVar[bool] = True

    def command(self, port: int, workload: Workload) -> Sequence[str]:
        where = ("--address", "127.0.0.1", "--port", str(port), "--log-level", "warning")
        return (str(APPS / "mosec_app.py"), *where)


class MlServer(Peer):
    """Bodies are the open inference protocol's, with a native tensor for ridge.

    Bytes go as base64 in a BYTES tensor: its HTTP side has no binary tensor data.
    """

    name = "mlserver"
    packages: ClassVar[tuple[str, ...]] = ("mlserver", _UVLOOP_OF_MLSERVER)
    path: ClassVar[str] = "/v2/models/score/infer"

    def content_type(self, workload: Workload) -> str:
        return "application/json"

    def body(self, workload: Workload) -> bytes:
        if workload.name == "ridge":
            data = workload.parsed["data"]
            flat = [value for row in data for value in row]
            tensor = {"name": "x", "shape": [2, 10], "datatype": "FP64", "data": flat}
        else:
            raw = workload.name == "bin"
            text = (base64.b64encode(workload.body) if raw else workload.body).decode()
            tensor = {"name": "x", "shape": [1], "datatype": "BYTES", "data": [text]}
        return json.dumps({"inputs": [tensor]}).encode()

    def command(self, port: int, workload: Workload) -> Sequence[str]:
        self._folder = Path(tempfile.mkdtemp(prefix="bench-mlserver-"))
        settings = {
            "http_port": port,
            "grpc_port": 0,
            "metrics_port": 0,
            "metrics_endpoint": None,
            "metrics_dir": str(self._folder),
            "parallel_workers": 0 if (workers := self.workers(workload)) == 1 else workers,
            "debug": False,
        }
        model = {"name": "score", "implementation": "mlserver_app.Score"}
        (self._folder / "settings.json").write_text(json.dumps(settings))
        (self._folder / "model-settings.json").write_text(json.dumps(model))
        return ("-m", "mlserver.cli.main", "start", str(self._folder))

    def stop(self) -> None:
        super().stop()
        shutil.rmtree(self._folder, ignore_errors=True)


class MlServerHttptools(MlServer):
    """With what neither its packages nor its documentation name, and what it is faster with."""

    name = "mlserver+httptools"
    packages: ClassVar[tuple[str, ...]] = (*MlServer.packages, "httptools")


class BentoMl(Peer):
    name = "bentoml"
    packages: ClassVar[tuple[str, ...]] = ("bentoml", *_UVICORN)
    environment: ClassVar[dict[str, str]] = {"BENTOML_DO_NOT_TRACK": "True"}

    def body(self, workload: Workload) -> bytes:
        if workload.name == "bin":
            return workload.body
        return json.dumps({"payload": workload.parsed}).encode()

    def command(self, port: int, workload: Workload) -> Sequence[str]:
        words = ("-m", "bentoml", "serve", "bentoml_app:Score", "--working-dir", str(APPS))
        return (*words, "--host", "127.0.0.1", "--port", str(port))


class LitServe(Peer):
    name = "litserve"
    packages: ClassVar[tuple[str, ...]] = ("litserve", "pyzmq", *_UVICORN)
    path: ClassVar[str] = "/predict"

    def command(self, port: int, workload: Workload) -> Sequence[str]:
        return (str(APPS / "litserve_app.py"), str(port))


class RayServe(Peer):
    """Tuned for throughput: one replica is asked at its own port, several behind HAProxy."""

    name = "ray-serve"
    packages: ClassVar[tuple[str, ...]] = ("ray[serve]",)
    environment: ClassVar[dict[str, str]] = {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }

    def command(self, port: int, workload: Workload) -> Sequence[str]:
        return (str(APPS / "ray_app.py"), str(port), str(free_port()))


DEFAULT: Final[tuple[type[Peer], ...]] = (PlainAiohttp, AzureServer)
OTHERS: Final[tuple[type[Peer], ...]] = (
    AiohttpOlderUvloop,
    Mosec,
    FastApi,
    MlServer,
    MlServerHttptools,
    BentoMl,
    LitServe,
    RayServe,
)
