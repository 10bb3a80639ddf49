"""A custom MLServer runtime; bodies are the open inference protocol's."""

import work
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
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
        else:
            output = StringCodec.encode_output("y", StringCodec.decode_input(given))
        return InferenceResponse(model_name=self.name, outputs=[output])
