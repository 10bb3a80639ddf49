"""Conda's names of packages, as PyPI has them: another name, or none. Pure.

Native libraries and programs are on no index of Python packages; a package of the same name there
is another thing, or nothing.
"""

from __future__ import annotations

import re
from typing import Final

_RENAMED: Final = {
    "pytorch": "torch",
    "pytorch-cpu": "torch",
    "pytorch-gpu": "torch",
    "py-xgboost": "xgboost",
    "py-xgboost-cpu": "xgboost",
    "py-xgboost-gpu": "xgboost",
    "tensorflow-gpu": "tensorflow",
    "tensorflow-base": "tensorflow",
    "opencv": "opencv-python-headless",
    "py-opencv": "opencv-python-headless",
    "pytables": "tables",
    "msgpack-python": "msgpack",
    "pillow-simd": "pillow",
    "matplotlib-base": "matplotlib",
    "dask-core": "dask",
    "python-graphviz": "graphviz",
    "pyqt": "PyQt5",
    "faiss": "faiss-cpu",
    "python-flatbuffers": "flatbuffers",
    "python-tzdata": "tzdata",
    "brotlipy": "brotli",
    "brotli-python": "brotli",
    "ruamel_yaml": "ruamel.yaml",
    "typing_extensions": "typing-extensions",
    "importlib_metadata": "importlib-metadata",
    "prompt_toolkit": "prompt-toolkit",
    "stack_data": "stack-data",
    "snappy-python": "python-snappy",
}
_NATIVE: Final = frozenset(
    {
        "alsa-lib", "arrow-cpp", "binutils", "blas", "bzip2", "c-ares", "c-compiler",
        "ca-certificates", "cairo", "compilers", "conda", "cpuonly", "cudatoolkit", "cudnn",
        "curl", "cxx-compiler", "dbus", "expat", "ffmpeg", "fftw", "fontconfig", "freetype",
        "fribidi", "gcc", "gdal", "geos", "gettext", "gflags", "ghostscript", "giflib", "git",
        "git-lfs", "glib", "glog", "gmp", "gnupg", "gnutls", "graphite2", "graphviz", "gsl",
        "gxx", "harfbuzz", "hdf5", "icu", "imagemagick", "jpeg", "krb5", "lame", "lcms2",
        "leptonica", "lerc", "lz4-c", "make", "mkl", "mpc", "mpfr", "mpi", "nccl", "ncurses",
        "nettle", "nodejs", "nomkl", "nspr", "nss", "numpy-base", "openblas", "openh264",
        "openjdk", "openjpeg", "openmpi", "openssl", "orc", "pandoc", "pango", "pcre", "pcre2",
        "perl", "pip", "pixman", "pkg-config", "poppler", "portaudio", "postgresql", "proj",
        "pytorch-cuda", "pytorch-mutex", "qt", "qt-main", "r-base", "rdma-core", "re2",
        "readline", "s2n", "sox", "sqlite", "swig", "tbb", "tesseract", "tk", "tzdata",
        "unixodbc", "wget", "xz", "yaml", "zeromq", "zlib", "zstd",
    }
)  # fmt: skip
# libclang, libcst, librosa, libsass and a few others are Python packages all the same.
_LIBRARY: Final = re.compile(r"lib(?!rosa|cst|sass|clang|tmux|tpu|linear-py|ipld|archive-c).*")
_TOOLCHAIN: Final = re.compile(
    r"_.*|.*_linux-64|ld_impl.*|aws-(c|crt|checksums|sdk).*|cuda-.*|xorg-.*|r-.*|gst-.*|boost-cpp.*"
    r"|java-.*|.*-cos[67]-.*"
)


def on_pypi(name: str, written: str) -> str:
    """What PyPI calls a package of conda, `written` where it has the same name; '' if nothing.

    `name` is in lower case.
    """
    if name in _RENAMED:
        return _RENAMED[name]
    if name in _NATIVE or _LIBRARY.fullmatch(name) or _TOOLCHAIN.fullmatch(name):
        return ""
    return written
