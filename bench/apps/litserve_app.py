"""LitServe with one worker, its fast queue and no access log. Usage: PORT"""

import sys

import litserve
import work


class Score(litserve.LitAPI):
    def setup(self, device):
        work.load()

    def decode_request(self, request):
        return request

    def predict(self, request):
        return work.answer_parsed(request)

    def encode_response(self, output):
        return output


if __name__ == "__main__":
    server = litserve.LitServer(Score(), accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning"
    )
