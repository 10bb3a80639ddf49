"""The one line that loads the worker in a user's interpreter, without a trace on its sys.path."""

from __future__ import annotations

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent

# `-c` puts '' first on sys.path: taken off, so that cwd shadows no installed package.
_CODE: Final = """\
import sys
sys.path = [p for p in sys.path if p]
import importlib.util
folder = sys.argv[1]
spec = importlib.util.spec_from_file_location(
    "headrace_worker", folder + "/__init__.py", submodule_search_locations=[folder])
package = importlib.util.module_from_spec(spec)
sys.modules["headrace_worker"] = package
spec.loader.exec_module(package)
from headrace_worker.main import main
main(int(sys.argv[2]), int(sys.argv[3]))
"""


def command(interpreter: str, data_fd: int, control_fd: int) -> list[str]:
    """Arguments that start a worker on two inherited sockets."""
    return [interpreter, "-u", "-c", _CODE, str(FOLDER), str(data_fd), str(control_fd)]
