"""mosec; a worker runs one request at a time. Usage: --port PORT"""

import work
from mosec import Server, Worker


class Score(Worker):
    def __init__(self):
        super().__init__()
        work.load()

    def deserialize(self, data):
        return data if work.WORKLOAD == "bin" else super().deserialize(data)

    def serialize(self, data):
        return data if work.WORKLOAD == "bin" else super().serialize(data)

    def forward(self, data):
        return data if work.WORKLOAD == "bin" else work.answer_parsed(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Score, num=work.WORKERS)
    server.run()
