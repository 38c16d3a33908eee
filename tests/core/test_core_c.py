"""Builds and runs the C tests of the core (tests/c/test_*.c), plain and with sanitizers.

Each ``TEST(name)`` is a test here, run as a process of its own. The compiler is ``$CC``, or cc.
"""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
C_TESTS = ROOT / "tests" / "c"
CORE = sorted((ROOT / "csrc" / "core").glob("*.c"))
CC = shlex.split(os.environ.get("CC", "cc"))
STRICT = ["-std=c11", "-g", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'csrc'}"]
MODES = {
    "plain": ["-O2"],
    "sanitized": [
        "-O1",
        "-fno-omit-frame-pointer",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
    ],
    "threaded": ["-O1", "-fsanitize=thread"],  # of programs that have threads
    "stopped": ["-O2", "-include", str(C_TESTS / "stopping.h")],  # at each atomic operation
}
# A preloaded sanitizer of the interpreter under test must not get into these programs.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


def declared_tests(source: Path) -> list[str]:
    return re.findall(r"^TEST\((\w+)\)", source.read_text(), flags=re.MULTILINE)


def sources(mode: str) -> list[Path]:
    """The programs that are built in that mode."""
    if mode in ("threaded", "stopped"):
        return sorted(C_TESTS.glob(f"test_*_{mode}.c"))
    return sorted(set(C_TESTS.glob("test_*.c")) - set(C_TESTS.glob("test_*_stopped.c")))


ALL_TESTS = [
    pytest.param(mode, source, name, id=f"{mode}-{source.stem}-{name}")
    for mode in MODES
    for source in sources(mode)
    for name in declared_tests(source)
]


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=120
    )


class Programs:
    """The test programs, each built when first asked for and once per mode."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.built: dict[tuple[str, Path], Path] = {}
        self.objects: dict[str, list[Path]] = {}
        self.unusable: dict[str, str] = {}

    def program(self, mode: str, source: Path) -> Path:
        if (mode, source) not in self.built:
            program = self.directory / f"{source.stem}-{mode}"
            objects = self.core_objects(mode)
            self.compile(mode, source, *objects, "-o", program, "-lm")
            self.built[mode, source] = program
        return self.built[mode, source]

    def core_objects(self, mode: str) -> list[Path]:
        if mode not in self.objects:
            self.require_working_mode(mode)
            directory = self.directory / mode
            directory.mkdir()
            if CORE:
                self.compile(mode, "-c", *CORE, cwd=directory)
            self.objects[mode] = sorted(directory.glob("*.o"))
        return self.objects[mode]

    def require_working_mode(self, mode: str) -> None:
        """Skips where the compiler lacks the mode's run-time libraries."""
        if mode not in self.unusable:
            probe = self.directory / f"probe-{mode}.c"
            probe.write_text("int main(void) { return 0; }\n")
            program = probe.with_suffix("")
            tried = run(*CC, *MODES[mode], probe, "-o", program)
            if tried.returncode == 0:
                tried = run(program)
            self.unusable[mode] = tried.stderr if tried.returncode != 0 else ""
        if self.unusable[mode]:
            pytest.skip(f"{CC[0]} cannot build {mode} programs here: {self.unusable[mode]}")

    def compile(self, mode: str, *arguments: str | Path, cwd: Path | None = None) -> None:
        compiled = run(*CC, *STRICT, *MODES[mode], *arguments, cwd=cwd)
        if compiled.returncode != 0:
            pytest.fail(compiled.stderr, pytrace=False)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    if shutil.which(CC[0]) is None:
        pytest.skip(f"no C compiler: {CC[0]} is not on PATH")
    return Programs(tmp_path_factory.mktemp("c"))


@pytest.mark.parametrize(("mode", "source", "name"), ALL_TESTS)
def test_the_c_test_passes(mode: str, source: Path, name: str, programs: Programs) -> None:
    ran = run(programs.program(mode, source), name)
    if ran.returncode != 0:
        pytest.fail(f"exit code {ran.returncode}\n{ran.stdout}{ran.stderr}", pytrace=False)
    assert ran.stdout == "1 passed\n"


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("CHECK(1 > 2);", "CHECK(1 > 2)"),
        ("CHECK_EQ(1 + 1, 3);", "1 + 1 is 2, not 3 = 3"),
        ("CHECK_NEAR(0.5, 1.0, 0.25);", "0.5 is 0.5, not 1.0 = 1 within 0.25"),
        ("CHECK_NEAR(0.0 / zero, 0.0, 1.0);", "not 0.0 = 0 within 1"),
    ],
)
def test_a_failed_check_fails_the_program(
    body: str, complaint: str, programs: Programs, tmp_path: Path
) -> None:
    source = tmp_path / "test_failing.c"
    source.write_text(
        f'#include "harness.h"\nvolatile double zero = 0.0;\nTEST(fails) {{ {body} }}\nTEST_MAIN\n'
    )
    programs.compile("plain", f"-I{C_TESTS}", source, "-o", tmp_path / "failing")
    ran = run(tmp_path / "failing")
    assert ran.returncode == 1
    assert complaint in ran.stderr


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("int *block = malloc(sizeof(int)); free(block); return *block;", "heap-use-after-free"),
        ("int most = INT_MAX; return most + argc;", "signed integer overflow"),
    ],
)
def test_the_sanitizers_end_a_faulty_program(
    body: str, complaint: str, programs: Programs, tmp_path: Path
) -> None:
    programs.require_working_mode("sanitized")
    source = tmp_path / "faulty.c"
    source.write_text(
        "#include <limits.h>\n#include <stdlib.h>\n"
        f"int main(int argc, char **argv) {{ (void)argc; (void)argv; {body} }}\n"
    )
    programs.compile("sanitized", "-w", source, "-o", tmp_path / "faulty")
    ran = run(tmp_path / "faulty")
    assert ran.returncode != 0
    assert complaint in ran.stderr
