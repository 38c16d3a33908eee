"""Builds the C extensions; everything else is in pyproject.toml."""

import os
import sys
from glob import glob

from setuptools import Extension, setup

CFLAGS = ["-std=c11", "-O3", "-Wall", "-Wextra", "-fvisibility=hidden",
          "-Werror=implicit-function-declaration"]  # fmt: skip

# Of what answers tell; they need no libcurl.
READERS = ["head", "json", "limits", "observation", "usage", "written"]

BINDING = ["csrc/binding", *(f"csrc/binding/{layer}" for layer in ("loop", "call", "scheduler"))]

core = Extension(
    "xtremeflow._core",
    sources=[
        *sorted(glob("csrc/core/*.c") + [f for d in BINDING for f in glob(f"{d}/*.c")]),
        *(f"csrc/net/{reader}.c" for reader in READERS),
    ],
    depends=[
        *sorted(glob("csrc/core/*.h") + [f for d in BINDING for f in glob(f"{d}/*.h")]),
        *(f"csrc/net/{reader}.h" for reader in READERS),
    ],
    include_dirs=["csrc"],
    extra_compile_args=CFLAGS,
)

# libcurl is loaded at run time and needs no headers. Linked with, it is only for wheels that are
# to carry one of their own: `auditwheel repair` then finds it. See docs/http.md.
CARRY_LIBCURL = ["-Wl,--no-as-needed", "-l:libcurl.so.4", "-Wl,--as-needed"]

carry = bool(os.environ.get("XTREMEFLOW_CARRY_LIBCURL"))

http = Extension(
    "xtremeflow._http",
    sources=[
        "csrc/binding/record.c",
        "csrc/binding/steps.c",
        *sorted(glob("csrc/net/*.c") + glob("csrc/binding/http/*.c")),
    ],
    depends=[
        "csrc/binding/lock.h",
        "csrc/binding/record.h",
        "csrc/binding/steps.h",
        *sorted(glob("csrc/net/*.h") + glob("csrc/binding/http/*.h")),
    ],
    include_dirs=["csrc"],
    libraries=["dl", "m"] if sys.platform.startswith("linux") else [],
    extra_compile_args=CFLAGS,
    extra_link_args=CARRY_LIBCURL if carry else [],
)

# Where there is no POSIX, the scheduler is all there is.
modules = [core] if sys.platform == "win32" else [core, http]

# Forced, since a build without the link would be taken for up to date.
setup(ext_modules=modules, options={"build_ext": {"force": True}} if carry else {})
