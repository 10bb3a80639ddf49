"""What Headrace and the Azure inference server run."""

import work


def init():
    work.load()


def run(raw_data):
    return work.answer(raw_data)
