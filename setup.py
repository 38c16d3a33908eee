"""Builds the C extension; everything else is in pyproject.toml."""

from glob import glob

from setuptools import Extension, setup

core = Extension(
    "xtremeflow._core",
    sources=sorted(glob("csrc/core/*.c") + glob("csrc/binding/*.c")),
    depends=sorted(glob("csrc/core/*.h") + glob("csrc/binding/*.h")),
    include_dirs=["csrc"],
    extra_compile_args=["-std=c11", "-O3", "-Wall", "-Wextra", "-fvisibility=hidden"],
)

setup(ext_modules=[core])
