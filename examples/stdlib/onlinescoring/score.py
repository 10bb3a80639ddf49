"""Prices a house by its rooms; needs nothing but the standard library."""

import json
import os


def init():
    global model
    with open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.json")) as file:
        model = json.load(file)
    print("model", model)


def run(raw_data):
    rooms = json.loads(raw_data)["rooms"]
    return {"price": model["base"] + model["per_room"] * rooms}
