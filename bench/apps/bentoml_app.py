"""A BentoML service with one worker."""

import bentoml
import work


@bentoml.service(
    workers=1,
    traffic={"max_concurrency": 256},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class Score:
    def __init__(self):
        work.load()

    @bentoml.api
    async def score(self, payload: dict) -> list | dict:  # a sync one pays for a thread
        return work.answer_parsed(payload)
