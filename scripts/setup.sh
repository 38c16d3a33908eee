# Sourced by ./dev: an interpreter, a compiler, .venv and the package in it, each only if missing.
# The package is installed in place (editable): an edited .py file needs no step, an edited C file
# rebuilds the extension at the next command. What users get, the built wheel, is what
# `./dev check` installs.

VENV=$ROOT/.venv
LOG=$ROOT/build/dev.log
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore

# The minor versions that the project is tested on; pyproject.toml declares the same.
OLDEST=10
NEWEST=15
CPYTHONS="CPython 3.$OLDEST to 3.$NEWEST"

say() { echo "dev: $*" >&2; }

die() {
    say "$@"
    exit 1
}

# quietly WHAT COMMAND...: says what is being done; shows the output only if it fails.
quietly() {
    local what=$1
    shift
    say "$what ..."
    mkdir -p "$(dirname "$LOG")"
    if ! "$@" >"$LOG" 2>&1 </dev/null; then
        cat "$LOG" >&2
        die "failed: $what ($*)"
    fi
}

# --- system packages -----------------------------------------------------------------------

# install_packages WHY PACKAGE...
install_packages() {
    local why=$1
    shift
    if [ "$(uname)" = Darwin ]; then
        die "$why; on macOS: 'xcode-select --install' brings the compiler, and" \
            "https://www.python.org/downloads or 'brew install python@3.14' a Python"
    fi
    command -v apt-get >/dev/null ||
        die "$why; install the equivalent of these Debian packages: $*"
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300)
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null ||
            die "$why; this needs root and there is no sudo, so run as root: apt-get install $*"
        # The password is asked for here or, where nobody can type one, refused at once.
        if [ -t 0 ]; then sudo -v; else sudo -n true; fi || die "$why; sudo refused"
        apt=(sudo "${apt[@]}")
    fi
    quietly "$why: refreshing apt's lists" "${apt[@]}" update
    quietly "installing $*" "${apt[@]}" install --yes --no-install-recommends "$@"
}

# --- the interpreter -----------------------------------------------------------------------

# Prints "X.Y BASE_PREFIX" of a CPython that the project may run on; fails for any other. One newer
# than those known may.
identity() {
    "$1" -c '
import sys, sysconfig
supported = sys.implementation.name == "cpython" and sys.version_info[:2] >= (3, int(sys.argv[1]))
if not supported or sysconfig.get_config_var("Py_GIL_DISABLED"):
    sys.exit(1)
print("%d.%d" % sys.version_info[:2], sys.base_prefix)
' $OLDEST 2>/dev/null
}

# For people: "CPython 3.9.2 (/usr/bin/python3)". Nothing for what does not run.
what_is() {
    "$1" -c '
import platform, sys
print("%s %s (%s)" % (platform.python_implementation(), platform.python_version(), sys.executable))
' 2>/dev/null || true
}

# is_newer PYTHON: than those known.
is_newer() {
    local version
    read -r version _ <<<"$(identity "$1")"
    [ "${version#3.}" -gt $NEWEST ]
}

# Prints which Debian packages (of pythonX.Y-*) would complete this interpreter: venv, dev, or none.
missing_parts() {
    "$1" -c '
import importlib.util, os, sysconfig
if importlib.util.find_spec("ensurepip") is None:
    print("venv")
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    print("dev")
'
}

# complete_python PYTHON: has apt add what Debian splits off its own interpreters.
# Fails if something is missing from an interpreter that is not apt's.
complete_python() {
    local part version prefix packages=()
    read -r version prefix <<<"$(identity "$1")"
    for part in $(missing_parts "$1"); do
        packages+=("python$version-$part")
    done
    [ ${#packages[@]} -gt 0 ] || return 0
    [ "$prefix" = /usr ] || return 1
    install_packages "$1 is without ${packages[*]}" "${packages[@]}"
}

# Every interpreter worth a look, the active one first, then the newest.
candidates() {
    local minor
    echo python3
    echo python
    for ((minor = NEWEST; minor >= OLDEST; minor--)); do
        echo "python3.$minor"
        ls -d "${PYENV_ROOT:-$HOME/.pyenv}/versions/3.$minor".*/bin/python 2>/dev/null || true
    done
}

# Sets BASE_PYTHON.
find_python() {
    if [ -n "${PYTHON:-}" ]; then
        identity "$PYTHON" >/dev/null ||
            die "PYTHON=$PYTHON is not a $CPYTHONS but $(what_is "$PYTHON" | grep . || echo nothing that runs)"
        complete_python "$PYTHON" || die "PYTHON=$PYTHON has no ensurepip or no Python.h"
        BASE_PYTHON=$PYTHON
    else
        search_python
    fi
    ! is_newer "$BASE_PYTHON" || say "not tested on $(what_is "$BASE_PYTHON"), only on $CPYTHONS: trying"
}

# Sets BASE_PYTHON to one that is known before any that is newer, and has apt install one at last.
search_python() {
    local candidate newer="" others=""
    for candidate in $(candidates); do
        if ! identity "$candidate" >/dev/null; then
            candidate=$(what_is "$candidate")
            [[ -z $candidate || $others == *"$candidate"* ]] || others="$others, $candidate"
        elif is_newer "$candidate"; then
            newer="$newer $candidate"
        elif use_python "$candidate"; then
            return
        fi
    done
    for candidate in $newer; do
        ! use_python "$candidate" || return 0
    done
    install_packages "no $CPYTHONS found${others:+, only ${others#, }}" \
        python3 python3-venv python3-dev gcc libc6-dev
    BASE_PYTHON=/usr/bin/python3
    identity $BASE_PYTHON >/dev/null ||
        die "this system's python3 is $(what_is $BASE_PYTHON): install a $CPYTHONS" \
            "(https://www.python.org/downloads), or name one in PYTHON"
}

# Sets BASE_PYTHON, or says why not.
use_python() {
    if complete_python "$1"; then
        BASE_PYTHON=$1
        return
    fi
    say "not used, having no ensurepip or no Python.h: $(command -v "$1")"
    return 1
}

need_compiler() {
    local compiler probe
    compiler=${CC:-$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_config_var("CC"))')}
    probe=$(mktemp -d)
    echo '#include <stdio.h>
int main(void) { return 0; }' >"$probe/probe.c"
    if ! $compiler "$probe/probe.c" -o "$probe/probe" 2>/dev/null; then
        install_packages "no working C compiler" gcc libc6-dev
    fi
    rm -r "$probe"
}

# xtremeflow.http loads it when it is imported.
need_libcurl() {
    local name=libcurl.so.4
    [ "$(uname)" != Darwin ] || name=libcurl.4.dylib
    "$VENV/bin/python" -c "import ctypes; ctypes.CDLL('$name')" 2>/dev/null ||
        install_packages "libcurl is missing" libcurl4
}

# --- the environment -----------------------------------------------------------------------

digest() {
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi
}

# c_sources FIND_EXPRESSION...
c_sources() { find csrc tests/c -name '*.[ch]' "$@"; }

# What the extension is built from. An addition, a removal or a rename counts as a change too.
sources_key() {
    local file
    {
        echo "$ROOT" "$(identity "$VENV/bin/python")"
        for file in pyproject.toml setup.py $(find csrc -name '*.[ch]' | LC_ALL=C sort); do
            echo "$file"
            cat "$file"
        done
    } | digest
}

# make_venv DIRECTORY PYTHON
make_venv() { quietly "making $(basename "$1") with $2" "$2" -m venv --clear "$1"; }

# Keeps a .venv that works, also one made by hand, unless PYTHON asks for another interpreter.
need_venv() {
    local has
    if has=$(identity "$VENV/bin/python") && [ -e "$VENV/bin/pip" ]; then
        if [ -z "${PYTHON:-}" ] || [ "$(identity "$PYTHON")" = "$has" ]; then
            return
        fi
    fi
    find_python
    make_venv "$VENV" "$BASE_PYTHON"
}

in_venv() { "$VENV/bin/python" -m "$@"; }

# What is done is noted with a digest of what it was done for, so that nothing is done twice and
# a command that has been run before needs no network.
is_done() { [ "$(cat "$VENV/.done-$1" 2>/dev/null)" = "$2" ]; }
note_done() { echo "$2" >"$VENV/.done-$1"; }

# setup EXTRA: .venv with the package and what this extra of pyproject.toml names.
setup() {
    local extra=$1 requirements sources
    need_venv
    requirements=$(digest <pyproject.toml)
    sources=$(sources_key)
    if ! is_done "$extra" "$requirements"; then
        # An isolated build would fetch the backend every time.
        quietly "installing the build backend" in_venv pip install \
            "$(sed -n 's/^requires = \["\(.*\)"\]$/\1/p' pyproject.toml)"
        build_in_place "the package and what '$extra' needs" ".[$extra]"
        note_done "$extra" "$requirements"
        need_libcurl
        note_done sources "$sources"
    elif ! is_done sources "$sources" || ! compgen -G 'xtremeflow/_http.*.so' >/dev/null; then
        build_in_place "the package" . --no-deps
        note_done sources "$sources"
    fi
}

# need_group NAME: the tools of a dependency group of pyproject.toml, in .venv.
need_group() {
    local requirements
    need_venv
    requirements=$(digest <pyproject.toml)
    if ! is_done "$1" "$requirements"; then
        quietly "updating pip, which reads dependency groups from 25.1 on" \
            in_venv pip install "pip>=25.1"
        quietly "installing the tools of '$1'" in_venv pip install --group "$1"
        note_done "$1" "$requirements"
    fi
}

# need_peer NAME VERSION: a release that cannot share .venv with the package, in a directory aside.
need_peer() {
    local aside=$VENV/peers/$1-$2
    [ -d "$aside" ] || quietly "installing $1 $2 aside" \
        in_venv pip install --no-deps --target "$aside" "$1==$2"
}

# need_peers_apart: the group 'peers' in an environment of the newest CPython of this machine, since
# one of them needs 3.12.
need_peers_apart() {
    local apart=$VENV/peers/apart requirements candidate version newest="" minor=0
    requirements=$(digest <pyproject.toml)
    ! is_done peers "$requirements" || return 0
    for candidate in "$VENV/bin/python" $(candidates); do
        read -r version _ <<<"$(identity "$candidate")"
        if [ "${version#3.}" -gt "$minor" ] 2>/dev/null && (complete_python "$candidate"); then
            minor=${version#3.} newest=$candidate
        fi
    done
    make_venv "$apart" "$newest"
    quietly "installing pip, which reads dependency groups from 25.1 on" \
        "$apart/bin/python" -m pip install "pip>=25.1"
    quietly "installing the peers" "$apart/bin/python" -m pip install --group peers
    note_done peers "$requirements"
}

# build_in_place WHAT PATH[EXTRA] PIP_OPTION...
build_in_place() {
    local what=$1
    shift
    need_compiler
    # setuptools compares times only, and would keep an extension built with other flags.
    rm -f xtremeflow/_core.*.so xtremeflow/_http.*.so
    quietly "building $what" in_venv pip install --no-build-isolation --editable "$@"
}
