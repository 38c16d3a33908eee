"""Which interpreter `./dev` takes, among such as say of themselves what they are."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BASH = shutil.which("bash")

pytestmark = pytest.mark.skipif(BASH is None, reason="./dev needs bash")

# Nothing is installed: what would be is the error.
CHOOSE = """
ROOT=$PWD
source scripts/setup.sh
install_packages() { die "$1; apt-get install ${*:2}"; }
complete_python() { :; }
find_python
echo "$BASE_PYTHON"
"""

# Runs `PYTHON -c CODE ARGUMENT...` as if it were another version.
STAND_IN = """#!{python}
import platform, sys, sysconfig
sysconfig.get_config_vars()
sys.implementation.name = "{implementation}"
sys.version_info = ({version}, 0, "final", 0)
sys.version = "{dotted}.0" + sys.version[sys.version.index(" "):]
sys.executable = sys.argv[0]
code, sys.argv = sys.argv[2], ["-c", *sys.argv[3:]]
exec(code)
"""


def choose(
    tmp_path: Path,
    interpreters: dict[str, str],
    implementation: str = "cpython",
    named: str | None = None,
) -> subprocess.CompletedProcess[str]:
    commands = tmp_path / "bin"
    commands.mkdir()
    for tool in ("grep", "ls", "uname"):
        (commands / tool).symlink_to(shutil.which(tool) or pytest.skip(f"there is no {tool}"))
    for command, version in interpreters.items():
        script = commands / command
        script.write_text(
            STAND_IN.format(
                python=sys.executable,
                implementation=implementation,
                version=version.replace(".", ","),
                dotted=version,
            )
        )
        script.chmod(0o755)
    environment = {"PATH": str(commands), "HOME": str(tmp_path), "LC_ALL": "C"}
    if named is not None:
        environment["PYTHON"] = str(commands / named)
    assert BASH is not None
    return subprocess.run(
        [BASH, "-euo", "pipefail", "-c", CHOOSE],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("interpreters", "chosen"),
    [
        ({"python3": "3.10"}, "python3"),
        ({"python3": "3.14", "python3.15": "3.15"}, "python3"),
        ({"python3.14": "3.14", "python3.15": "3.15"}, "python3.15"),
        ({"python3": "3.9", "python3.11": "3.11"}, "python3.11"),
        ({"python": "2.7", "python3": "3.16", "python3.12": "3.12"}, "python3.12"),
    ],
)
def test_a_tested_version_is_taken_in_silence(
    tmp_path: Path, interpreters: dict[str, str], chosen: str
) -> None:
    result = choose(tmp_path, interpreters)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{chosen}\n", "")


@pytest.mark.parametrize("named", [None, "python3"])
def test_a_newer_version_is_tried_with_one_line_of_warning(
    tmp_path: Path, named: str | None
) -> None:
    result = choose(tmp_path, {"python3": "3.16"}, named=named)
    assert result.returncode == 0
    assert Path(result.stdout.strip()).name == "python3"
    assert result.stderr.count("\n") == 1
    assert "not tested on CPython 3.16.0" in result.stderr


def test_the_message_says_which_pythons_were_found_and_what_to_install(tmp_path: Path) -> None:
    result = choose(tmp_path, {"python": "2.7", "python3": "3.9"})
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    for part in ("CPython 3.9.0 (", "CPython 2.7.0 (", "apt-get install python3 python3-venv"):
        assert part in result.stderr


@pytest.mark.parametrize(
    ("version", "implementation", "said"),
    [("3.9", "cpython", "3.9.0 ("), ("3.11", "pypy", "3.11.0 ("), ("4.0", "none", "4.0.0 (")],
)
def test_an_unfit_python_is_refused_by_name(
    tmp_path: Path, version: str, implementation: str, said: str
) -> None:
    result = choose(tmp_path, {"python3": version}, implementation, named="python3")
    assert result.returncode == 1
    assert "PYTHON=" in result.stderr
    assert said in result.stderr


def test_a_name_without_an_interpreter_is_refused(tmp_path: Path) -> None:
    result = choose(tmp_path, {}, named="no-such-python")
    assert result.returncode == 1
    assert "but nothing that runs" in result.stderr
