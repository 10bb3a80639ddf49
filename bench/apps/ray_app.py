"""Ray Serve, set for throughput. Usage: PORT OTHER_PORT

One replica is asked at its own port, past the proxy. Several have a port each, and HAProxy at PORT
chooses the least busy: with Serve's own proxy four of them did not carry 400 runs of 5 ms a second
on two busy cores, with `max_ongoing_requests=1` not 100.
"""

import asyncio
import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import work

ONE = work.WORKERS == 1
replica_port, proxy_port = map(int, sys.argv[1:] if ONE else sys.argv[:0:-1])
os.environ["RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT"] = str(replica_port)
os.environ["RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT"] = str(replica_port + work.WORKERS)
if not ONE:
    os.environ["RAY_SERVE_ENABLE_HA_PROXY"] = "1"

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response


@serve.deployment(
    num_replicas=work.WORKERS,
    max_ongoing_requests=1024,  # more than any load has under way
    ray_actor_options={"num_cpus": 0.1},
    logging_config={"enable_access_log": False},
)
class Score:
    def __init__(self):
        work.load()
        self.thread = ThreadPoolExecutor(1)

    async def __call__(self, request: Request):
        body = await request.body()
        if work.WORKLOAD == "bin":
            return Response(body, media_type="application/octet-stream")
        if work.WORKLOAD == "sleep20":
            return await work.wait(json.loads(body))
        if work.WORKLOAD == "heavy":  # blocking code belongs beside the replica's loop
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self.thread, work.answer, body)
        return work.answer(body)


ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
serve.start(http_options={"host": "127.0.0.1", "port": proxy_port})
serve.run(Score.bind(), route_prefix="/score")
signal.pause()
