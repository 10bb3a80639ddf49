"""Says what a picture is. The body is the file itself, so `run` asks for the raw request."""

import io

from azureml_inference_server_http.api.aml_request import AMLRequest, rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse
from PIL import Image, UnidentifiedImageError


def init():
    Image.init()


@rawhttp
def run(request: AMLRequest):
    if request.method != "POST":
        return AMLResponse({"message": "POST a picture"}, 405, json_str=True)
    try:
        with Image.open(io.BytesIO(request.get_data())) as picture:
            answer = {"format": picture.format, "width": picture.width, "height": picture.height}
    except UnidentifiedImageError:
        return AMLResponse({"message": "the body is not a picture"}, 400, json_str=True)
    return AMLResponse(answer, 200, json_str=True)
