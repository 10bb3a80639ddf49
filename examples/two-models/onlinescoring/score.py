"""Two models of one folder; the request says which of them it wants."""

import json
import os
import pathlib


def init():
    global models
    folder = pathlib.Path(os.environ["AZUREML_MODEL_DIR"]) / "models"
    models = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


def run(raw_data):
    request = json.loads(raw_data)
    model = models[request["model"]]
    values = [
        model["base"] + model["per_square_metre"] * metres for metres in request["square_metres"]
    ]
    return {"model": request["model"], "values": values}
