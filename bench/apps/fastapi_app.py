"""FastAPI on uvicorn with uvloop and httptools. Usage: PORT"""

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
    if work.WORKLOAD == "sleep20":
        answer = await work.wait(json.loads(body))
    else:
        answer = work.answer(body)  # a heavy run holds the loop: one at a time in each worker
    return Response(json.dumps(answer), media_type="application/json")


work.load()
if __name__ == "__main__":
    uvicorn.run(
        "fastapi_app:app" if work.WORKERS > 1 else app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        workers=work.WORKERS,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
