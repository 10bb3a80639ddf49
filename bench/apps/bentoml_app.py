"""A BentoML service; how its API is written depends on what the workload's run does."""

from typing import Annotated

import bentoml
import work
from bentoml.validators import ContentType

Raw = Annotated[bytes, ContentType("application/octet-stream")]


@bentoml.service(
    workers=work.WORKERS,
    traffic={"max_concurrency": 1024 * work.WORKERS},  # more than any load has under way
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class Score:
    def __init__(self):
        work.load()

    if work.WORKLOAD == "bin":

        @bentoml.api
        async def score(self, payload: Raw, /) -> Raw:
            return payload

    elif work.WORKLOAD == "sleep20":

        @bentoml.api
        async def score(self, payload: dict) -> dict:
            return await work.wait(payload)

    elif work.WORKLOAD == "heavy":

        @bentoml.api
        def score(self, payload: dict) -> dict:  # in the one thread that a worker has for these
            return work.answer_parsed(payload)

    else:

        @bentoml.api
        async def score(self, payload: dict) -> list | dict:  # a sync one pays for a thread
            return work.answer_parsed(payload)
