# Sourced by ./dev check: the threads' tests on a CPython without the GIL. Debian ships none.

# Prints the interpreter; fails where there is none.
nogil_python() {
    local candidate
    for candidate in "${XTREMEFLOW_NOGIL_PYTHON:-}" python3.14t python3.15t python3.13t; do
        [ -n "$candidate" ] || continue
        if [ "$("$candidate" -c '
import sysconfig
print(sysconfig.get_config_var("Py_GIL_DISABLED"))' 2>/dev/null)" = 1 ]; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# What threads do to each other, and what the lock is in the way of. The packages that the rest of the
# suite needs have no wheels for all such CPythons.
NOGIL_TESTS=(binding scheduler core/test_core_rules.py)

job_nogil() {
    local python test tests=() environment=$ROOT/.venv-nogil
    python=$(nogil_python) ||
        skip_job "there is no CPython without the GIL; XTREMEFLOW_NOGIL_PYTHON can name one"
    make_venv "$environment" "$python"
    unpack_sdist
    quietly "building the sdist for $python" \
        "$environment/bin/python" -m pip install "$WORK/unpacked"
    quietly "installing what its tests need" \
        "$environment/bin/python" -m pip install --only-binary=:all: pytest pytest-xdist hypothesis
    for test in "${NOGIL_TESTS[@]}"; do tests+=("$ROOT/tests/$test"); done
    mkdir -p "$WORK/elsewhere"
    cd "$WORK/elsewhere" || return
    "$environment/bin/python" -m pytest "${SPREAD[@]}" -p no:cacheprovider -k "not uvloop" \
        -c "$ROOT/pyproject.toml" --rootdir="$ROOT" "${tests[@]}"
}
