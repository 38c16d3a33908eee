"""A short run of the fuzzers over their corpus; tests/fuzz/run SECONDS for a long one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parent.parent / "fuzz" / "run"
CLANG = os.environ.get("CLANG", "clang")


def test_the_parsers_withstand_a_short_fuzzing(tmp_path: Path) -> None:
    empty = tmp_path / "empty.c"
    empty.write_text(
        "#include <stddef.h>\n"
        "int LLVMFuzzerTestOneInput(const unsigned char *d, size_t n) { return d && n ? 0 : 0; }\n"
    )
    probe = [CLANG, "-fsanitize=fuzzer", str(empty), "-o", str(tmp_path / "empty")]
    if not shutil.which(CLANG) or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("needs clang with libFuzzer")
    run = subprocess.run([str(RUN), "1"], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("Done") == 5
