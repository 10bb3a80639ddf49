"""A custom MLServer runtime; bodies are the open inference protocol's."""

import json

import work
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec, StringCodec
from mlserver.types import InferenceResponse


class Score(MLModel):
    async def load(self):
        work.load()
        return True

    async def predict(self, payload):
        given = payload.inputs[0]
        if work.WORKLOAD == "ridge":
            rows = NumpyCodec.decode_input(given)
            output = NumpyCodec.encode_output("y", work.model.predict(rows))
        elif work.WORKLOAD == "bin":
            output = Base64Codec.encode_output("y", Base64Codec.decode_input(given))
        else:
            texts = StringCodec.decode_input(given)
            if work.WORKLOAD == "sleep20":
                await work.wait(json.loads(texts[0]))
            elif work.WORKLOAD == "heavy":  # it holds its worker: one at a time in each
                work.answer(texts[0])
            output = StringCodec.encode_output("y", texts)
        return InferenceResponse(model_name=self.name, outputs=[output])
