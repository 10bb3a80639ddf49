"""LitServe with its fast queue and no access log. Usage: PORT"""

import sys
from typing import Annotated

import litserve
import work
from fastapi import Body, Response


class Score(litserve.LitAPI):
    def setup(self, device):
        work.load()

    def decode_request(self, request):
        return request

    def predict(self, request):
        return work.answer_parsed(request)

    def encode_response(self, output):
        return output


class Raw(Score):
    """Bytes there and back; LitServe itself would parse an unannotated body as JSON."""

    def decode_request(self, request: Annotated[bytes, Body()]):
        return request

    def predict(self, request):
        return request

    def encode_response(self, output) -> Response:
        return Response(output, media_type="application/octet-stream")


class Waiting(Score):
    """Many requests at once in one worker."""

    async def decode_request(self, request):
        return request

    async def predict(self, request):
        return await work.wait(request)

    async def encode_response(self, output):
        return output


def api():
    if work.WORKLOAD == "bin":
        return Raw()
    return Waiting(enable_async=True) if work.WORKLOAD == "sleep20" else Score()


if __name__ == "__main__":
    server = litserve.LitServer(
        api(), accelerator="cpu", workers_per_device=work.WORKERS, fast_queue=True
    )
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning"
    )
