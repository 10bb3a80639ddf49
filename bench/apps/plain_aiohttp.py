"""A bare aiohttp handler on uvloop: what no platform can beat by much. Usage: PORT"""

import json
import sys

import uvloop
import work
from aiohttp import web


async def score(request):
    body = await request.read()
    if work.WORKLOAD == "bin":
        return web.Response(body=body)
    if work.WORKLOAD == "sleep20":
        answer = await work.wait(json.loads(body))
    else:
        answer = work.answer(body)
    return web.Response(body=json.dumps(answer).encode(), content_type="application/json")


work.load()
app = web.Application(client_max_size=1 << 30)
app.router.add_post("/score", score)
uvloop.install()
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
