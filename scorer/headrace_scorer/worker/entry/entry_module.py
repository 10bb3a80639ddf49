"""score.py in a process that it started, under the module name that its pickles carry."""

from __future__ import annotations

import importlib.util
import os
import sys

_path = os.path.join(os.environ["AML_APP_ROOT"], os.environ["AZUREML_ENTRY_SCRIPT"])
_spec = importlib.util.spec_from_file_location(__name__, _path)
if _spec is None or _spec.loader is None:
    raise ImportError("%s is not a Python file" % _path)
_module = importlib.util.module_from_spec(_spec)
sys.modules[__name__] = _module
_spec.loader.exec_module(_module)
