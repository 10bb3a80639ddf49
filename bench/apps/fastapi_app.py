"""FastAPI on uvicorn with uvloop and httptools. Usage: PORT"""

import asyncio
import json
import sys

import uvicorn
import work
from fastapi import FastAPI, Request, Response

app = FastAPI()


@app.post("/score")
async def score(request: Request):
    body = await request.body()
    if work.WORKLOAD == "bin":
        return Response(body)
    if work.WORKLOAD in ("sleep20", "heavy"):
        answer = json.loads(body)
        await asyncio.sleep(work.seconds(answer))
    else:
        answer = work.answer(body)
    return Response(json.dumps(answer), media_type="application/json")


work.load()
uvicorn.run(
    app,
    host="127.0.0.1",
    port=int(sys.argv[1]),
    loop="uvloop",
    http="httptools",
    access_log=False,
    log_level="warning",
)
