"""A model that waits: many requests at once in one worker."""

import asyncio
import json

import work


def init():
    pass


async def run(raw_data):
    request = json.loads(raw_data)
    await asyncio.sleep(work.seconds(request))
    return request
