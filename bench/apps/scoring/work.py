"""The work every server does per request; BENCH_WORKLOAD names it."""

import asyncio
import json
import os
import time

WORKLOAD = os.environ.get("BENCH_WORKLOAD", "echo")
WORKERS = int(os.environ.get("BENCH_WORKERS", "1"))
SLEEP_S = 0.02


def load():
    global model
    if WORKLOAD == "ridge":
        import numpy
        from sklearn.linear_model import LinearRegression

        draw = numpy.random.default_rng(0)
        features = draw.normal(size=(200, 10))
        model = LinearRegression().fit(features, features @ numpy.arange(10.0) + 1)


def predict(rows):
    import numpy

    return model.predict(numpy.array(rows)).tolist()


def seconds(request):
    return request.get("sleep_s", SLEEP_S)


async def wait(request):
    """For handlers that wait beside one another: the 20 ms model."""
    await asyncio.sleep(seconds(request))
    return request


def answer_parsed(request):
    """For servers that parse JSON themselves."""
    if WORKLOAD == "ridge":
        return predict(request["data"])
    if WORKLOAD in ("sleep20", "heavy"):
        time.sleep(seconds(request))
    return request


def answer(raw):
    """JSON text in, a JSON-serialisable object out."""
    return answer_parsed(json.loads(raw))
