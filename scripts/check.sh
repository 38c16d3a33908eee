# Sourced by `./dev check`: each check is a function job_NAME. A job fails by its exit status;
# what it had to leave out it says with `skip`, and the summary repeats it.
# Every job runs in a process of its own (bash would ignore `set -e` in a function whose status is
# looked at), so that one job's failure never hides the next one's verdict.

JOBS=(lint types docs warnings windows analyse c suite sdks sanitized leaks nogil dist wheels)
for ((minor = OLDEST; minor <= NEWEST; minor++)); do JOBS+=("python3.$minor"); done
ONLY_NAMED=(browser frameworks fresh ray soak) # what a plain `./dev check` leaves out
source scripts/fresh.sh
source scripts/windows.sh
source scripts/nogil.sh
source scripts/wheels.sh
WORK=$ROOT/build/check
SDIST=$ROOT/build/dist

check() {
    local job wanted=() without=" "
    while [ $# -gt 0 ]; do
        case $1 in
        --list)
            printf '%s\n' "${JOBS[@]}"
            printf '%s (only by name)\n' "${ONLY_NAMED[@]}"
            return
            ;;
        --only-here) # one job, in this process
            case $2 in
            python*) job_python "${2#python}" ;;
            *) "job_$2" ;;
            esac
            return
            ;;
        --without)
            need_job "${2:-}"
            without="$without$2 "
            shift
            ;;
        *)
            need_job "$1"
            wanted+=("$1")
            ;;
        esac
        shift
    done
    [ ${#wanted[@]} -gt 0 ] || wanted=("${JOBS[@]}")
    rm -rf "$WORK" "$SDIST"
    mkdir -p "$WORK"
    : >"$WORK/summary"
    for job in "${wanted[@]}"; do
        [[ $without == *" $job "* ]] || run_job "$job"
    done
    printf '\n--- summary\n'
    cat "$WORK/summary"
    ! grep -q ^FAILED "$WORK/summary"
}

need_job() {
    printf '%s\n' "${JOBS[@]}" "${ONLY_NAMED[@]}" | grep -qxF -e "$1" ||
        die "there is no job '$1'; the jobs are: ${JOBS[*]} ${ONLY_NAMED[*]}"
}

run_job() {
    local job=$1 verdict start=$SECONDS status=0
    printf '\n--- %s\n' "$job"
    : >"$WORK/skipped"
    "$BASH" ./dev check --only-here "$job" </dev/null || status=$?
    case $status in
    0) verdict=ok ;;
    "$ALL_SKIPPED") verdict=skipped ;;
    *) verdict=FAILED ;;
    esac
    {
        printf '%-8s%-12s%4d s\n' $verdict "$job" $((SECONDS - start))
        sed 's/^/        not done: /' "$WORK/skipped"
    } >>"$WORK/summary"
}

ALL_SKIPPED=77

# skip WHAT: leaves a part of the job out, never silently.
skip() {
    echo "skipped: $*"
    echo "$*" >>"$WORK/skipped"
}

skip_job() {
    skip "$@"
    exit $ALL_SKIPPED
}

# need_command COMMAND PACKAGE...: fails if it is missing and cannot be installed.
need_command() {
    local command=$1
    shift
    command -v "$command" >/dev/null || (install_packages "$command is missing" "$@")
}

# Runs the checks of a job one after the other and fails at the end if one failed: one round
# of corrections instead of many.
STATUS=0
try() { "$@" || STATUS=1; }

# --- source --------------------------------------------------------------------------------

job_lint() {
    need_group lint
    try in_venv ruff check .
    try in_venv ruff format --check .
    try c_sources -exec "$VENV/bin/clang-format" --dry-run -Werror {} +
    try hooks_are_pinned_alike
    if need_command shellcheck shellcheck; then
        try shellcheck --shell=bash --external-sources dev scripts/*.sh .ci/run
    else
        skip "there is no shellcheck"
    fi
    return $STATUS
}

# The hooks are built apart from .venv and repeat the pins of pyproject.toml.
hooks_are_pinned_alike() {
    local pin status=0
    while read -r pin; do
        if ! grep -qF "\"$pin\"" pyproject.toml; then
            echo ".pre-commit-config.yaml: $pin is not what pyproject.toml pins"
            status=1
        fi
    done < <(grep -oE '[a-z-]+(\[[a-z]+\])?==[0-9.]+' .pre-commit-config.yaml)
    return $status
}

job_types() {
    setup test
    need_group types
    try in_venv mypy
    try in_venv mypy.stubtest xtremeflow._core xtremeflow._http
    try in_venv pyright --pythonpath "$VENV/bin/python"
    return $STATUS
}

# Strict: a link, an anchor or a name that leads nowhere fails it.
job_docs() {
    need_group docs
    NO_MKDOCS_2_WARNING=1 in_venv mkdocs build --quiet --site-dir "$WORK/site"
}

# --- C -------------------------------------------------------------------------------------

WARNINGS=(-std=c11 -O2 -Icsrc -Wall -Wextra -Werror
    -Wshadow -Wstrict-prototypes -Wundef -Wvla -Wpointer-arith)

# for_each_source COMMAND...: with the include path and the file appended, and -Wpedantic for what
# has to do without Python.h; as many at once as there are CPUs.
for_each_source() {
    local headers processes
    headers=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    processes=$(getconf _NPROCESSORS_ONLN)
    printf '%s\0' csrc/core/*.c csrc/net/*.c |
        xargs -0 -n 1 -P "$processes" "$@" -Wpedantic || STATUS=1
    printf '%s\0' csrc/binding/*.c csrc/binding/*/*.c |
        xargs -0 -n 1 -P "$processes" "$@" -isystem "$headers" || STATUS=1
}

job_warnings() {
    local compiler
    need_venv
    for compiler in gcc clang; do
        if need_command $compiler $compiler libc6-dev; then
            for_each_source $compiler "${WARNINGS[@]}" -c -o /dev/null
        else
            skip "there is no $compiler"
        fi
    done
    return $STATUS
}

job_analyse() {
    need_venv
    need_command clang clang libc6-dev || skip_job "there is no clang"
    for_each_source clang "${WARNINGS[@]}" --analyze -Xclang -analyzer-werror \
        -Xclang -analyzer-output=text
    return $STATUS
}

# The suite runs the C tests with cc, which is gcc on Linux and clang on macOS; this is the other one.
job_c() {
    local compiler=clang
    setup test
    [ "$(uname)" = Linux ] || compiler=gcc
    need_command $compiler $compiler libc6-dev || skip_job "there is no $compiler"
    [ $compiler = gcc ] || need_clang_sanitizers
    CC=$compiler in_venv pytest "${SPREAD[@]}" tests/core/test_core_c.py
}

# Debian and Ubuntu ship them apart from clang.
need_clang_sanitizers() {
    local probe=$WORK/probe
    echo 'int main(void) { return 0; }' >"$probe.c"
    if ! clang -fsanitize=address,undefined "$probe.c" -o "$probe" 2>/dev/null; then
        (install_packages "clang has no sanitizers here" \
            "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev") || skip "clang has no sanitizers"
    fi
}

# --- the suite -----------------------------------------------------------------------------

job_suite() {
    setup test
    in_venv pytest "${SPREAD[@]}"
}

# 100,000 calls at a provider that is not what it says, in every way in turn: the suite has the same
# with a few thousand. And of shares: 20 failures of a server for each one of the suite, stops of 30 s,
# and 10,000 members that are killed.
job_soak() {
    setup test
    in_venv bench soak
    XTREMEFLOW_SOAK=20 in_venv pytest tests/share/test_server_failures.py \
        tests/share/test_timeline_members.py tests/share/test_processes.py
    in_venv bench members --kills 10000
}

# The tests that need the SDKs whose refusals they are about, and the frameworks above them. The
# variable lets a test fail that misses its framework.
job_sdks() {
    setup test
    need_group sdks
    export XTREMEFLOW_FRAMEWORKS=celery,distributed,gunicorn,langchain,openai_agents,pydantic_ai
    in_venv pytest "${SPREAD[@]}" tests/answers tests/serve tests/frameworks
}

# The dashboard's page in a real browser. The variable lets the tests fail that miss it.
job_browser() {
    setup test
    need_group browser
    need_command chromium chromium
    need_command chromedriver chromium-driver
    export XTREMEFLOW_BROWSER=1
    in_venv pytest tests/web/test_page.py
}

# The heavy frameworks, and those that need an older openai than the suite.
job_frameworks() {
    local environment=$ROOT/.venv-frameworks
    need_venv
    install_sdist frameworks "$VENV/bin/python"
    quietly "installing the heavy frameworks" \
        "$environment/bin/python" -m pip install "pip>=25.1"
    quietly "installing the heavy frameworks" \
        "$environment/bin/python" -m pip install --group frameworks
    export XTREMEFLOW_FRAMEWORKS=dspy,instructor,litellm,llama_index
    suite_of "$environment" --ignore-glob="$ROOT/tests/[!f]*" --ignore="$ROOT/tests/fuzz"
}

# Shares on a Ray cluster of several nodes, some of which are killed, and the example.
job_ray() {
    local environment=$ROOT/.venv-ray
    need_venv
    install_sdist ray "$VENV/bin/python"
    quietly "installing Ray" "$environment/bin/python" -m pip install "$WORK/unpacked[ray]"
    export XTREMEFLOW_FRAMEWORKS=ray
    suite_of "$environment" -n0 -k "test_ray or test_workers" --ignore-glob="$ROOT/tests/[!fs]*" \
        --ignore="$ROOT/tests/fuzz"
}

# suite_of ENVIRONMENT PYTEST_ARGUMENT...: the checkout's tests against the package installed in
# ENVIRONMENT. Not run from the checkout, whose own xtremeflow/ would be imported instead; and with
# fd 2 left alone, or what a sanitizer or a failed assertion says as it aborts would be lost.
# The benchmark measures the checkout, in processes started there.
suite_of() {
    local environment=$1
    shift
    mkdir -p "$WORK/elsewhere"
    (cd "$WORK/elsewhere" && "$environment/bin/python" -m pytest "${SPREAD[@]}" --capture=sys \
        -p no:cacheprovider \
        -c "$ROOT/pyproject.toml" --rootdir="$ROOT" "$ROOT/tests" \
        --ignore="$ROOT/tests/bench" "$@")
}

# Built once in a run of `./dev check`, which begins by removing it.
need_sdist() {
    [ ! -e "$SDIST" ] || return 0
    need_group dist
    quietly "building sdist and wheel" in_venv build --outdir "$SDIST" .
}

# install_sdist NAME PYTHON [VARIABLE=VALUE...]: with its test extra, in .venv-NAME, which is kept
# from run to run; the variables are for the compiler.
install_sdist() {
    local name=$1 python=$2 environment=$ROOT/.venv-$1
    shift 2
    if [ "$(identity "$environment/bin/python")" != "$(identity "$python")" ]; then
        make_venv "$environment" "$python"
    fi
    unpack_sdist
    quietly "building the sdist for $name" \
        env "$@" "$environment/bin/python" -m pip install "$WORK/unpacked[test]"
}

# Into $WORK/unpacked, afresh each time: setuptools would keep an object file that another interpreter
# or other flags have left beside the sources, pip a wheel that it has built from this sdist before.
unpack_sdist() {
    need_sdist
    rm -rf "$WORK/unpacked"
    mkdir -p "$WORK/unpacked"
    tar -xzf "$SDIST"/*.tar.gz -C "$WORK/unpacked" --strip-components=1
}

# The suite's own interpreter is enough for these: the C tests and the fuzzers, which have their own
# sanitizers; the core that is compared with its model; and the learner, which is arithmetic on the
# virtual clock.
ONCE=("--ignore=$ROOT/tests/core" "--ignore=$ROOT/tests/share/test_share_model.py"
    "--ignore=$ROOT/tests/http/test_fuzz.py" "--ignore=$ROOT/tests/share/test_learned_together.py"
    "--ignore=$ROOT/tests/learning")

# What is Python alone has nothing to show to a sanitizer or to a debug build, and what it needs of
# an older interpreter the type checkers know. A share on a server is such a part, with its timeline.
NOT_OF_C=("${ONCE[@]}" -k "not timeline" "--ignore=$ROOT/tests/run" "--ignore=$ROOT/tests/serve"
    "--ignore=$ROOT/tests/demo" "--ignore=$ROOT/tests/project"
    "--ignore=$ROOT/tests/simulation" "--ignore=$ROOT/tests/web" "--ignore=$ROOT/tests/telemetry"
    "--ignore=$ROOT/tests/frameworks" "--ignore=$ROOT/tests/prefixes" "--ignore=$ROOT/tests/answers"
    "--ignore-glob=$ROOT/tests/share/*server*")

job_sanitized() {
    local flags library preload=""
    [ "$(uname)" = Linux ] || skip_job "sanitizers are preloaded into the interpreter on Linux only"
    need_command gcc gcc libc6-dev || skip_job "there is no gcc"
    need_venv
    flags="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g"
    install_sdist sanitized "$VENV/bin/python" CC="gcc -pthread" CFLAGS="$flags" LDFLAGS="$flags"
    # libstdc++ too, or the sanitizer never finds the __cxa_throw of other packages' C++.
    for library in libasan.so libubsan.so libstdc++.so.6; do
        preload="$preload $(gcc -print-file-name=$library)"
    done
    # Without leak detection: the interpreter leaks on purpose, and the next job looks for ours.
    export LD_PRELOAD=$preload PYTHONMALLOC=malloc UBSAN_OPTIONS=print_stacktrace=1
    export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1
    # The one preloads a library of its own. The other counts, which needs no sanitizer.
    suite_of "$ROOT/.venv-sanitized" "${NOT_OF_C[@]}" --ignore="$ROOT/tests/http/test_resolver.py" \
        --ignore="$ROOT/tests/binding/test_leaks.py"
}

# A debug build of CPython counts its references and asserts the rules of its C API.
job_leaks() {
    if ! need_command python3-dbg python3-dbg python3-venv || ! identity python3-dbg >/dev/null; then
        skip_job "there is no debug build of $CPYTHONS (python3-dbg)"
    fi
    need_venv
    install_sdist dbg "$(command -v python3-dbg)"
    suite_of "$ROOT/.venv-dbg" "${NOT_OF_C[@]}"
}

job_dist() {
    local file environment=$WORK/clean
    need_venv
    need_sdist
    make_venv "$environment" "$VENV/bin/python"
    for file in "$SDIST"/*.whl "$SDIST"/*.tar.gz; do
        quietly "installing $(basename "$file")" "$environment/bin/python" -m pip install \
            --force-reinstall --no-cache-dir "$file"
        (cd / && "$environment/bin/python" -I -c "$SMOKE")
    done
}

SMOKE='
import asyncio, importlib.resources
from xtremeflow import TokenRateScheduler, report_token_usage

async def call():
    await report_token_usage(7)
    return "a call was scheduled"

async def main():
    return await (await TokenRateScheduler(max_tps=1000).start_task(call(), 10))

assert importlib.resources.files("xtremeflow").joinpath("py.typed").is_file()
print(asyncio.run(main()))
'

# has_newer VERSION: whether this machine has a CPython newer than that which is tested as well.
has_newer() {
    local candidate version
    for candidate in $(candidates); do
        read -r version _ <<<"$(identity "$candidate")"
        if [[ $version == 3.* ]] && [ "${version#3.}" -gt "${1#3.}" ] && ! is_newer "$candidate"; then
            return 0
        fi
    done
    return 1
}

# The suite against what users get, on each further CPython of this machine; what is Python alone only
# on the newest.
job_python() {
    local version=$1 candidate tests=("${ONCE[@]}")
    if has_newer "$version"; then
        tests=("${NOT_OF_C[@]}")
    fi
    need_venv
    if [[ $(identity "$VENV/bin/python") == "$version "* ]]; then
        skip_job "the interpreter of the other jobs"
    fi
    for candidate in $(candidates); do
        if [[ $(identity "$candidate") == "$version "* ]] && (complete_python "$candidate"); then
            install_sdist "$version" "$candidate"
            suite_of "$ROOT/.venv-$version" "${tests[@]}"
            return
        fi
    done
    skip_job "there is no complete CPython $version on this machine"
}
