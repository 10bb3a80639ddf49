"""Ray Serve with one replica, set for throughput. Usage: REPLICA_PORT PROXY_PORT"""

import os
import signal
import sys

os.environ["RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT"] = sys.argv[1]
os.environ["RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT"] = str(int(sys.argv[1]) + 1)

import ray
import work
from ray import serve
from starlette.requests import Request


@serve.deployment(
    num_replicas=1,
    max_ongoing_requests=256,
    ray_actor_options={"num_cpus": 0.1},
    logging_config={"enable_access_log": False},
)
class Score:
    def __init__(self):
        work.load()

    async def __call__(self, request: Request):
        return work.answer(await request.body())


ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
serve.run(Score.bind(), route_prefix="/score")
signal.pause()
