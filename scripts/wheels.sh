# Sourced by ./dev check: the wheels of a release are all declared, and that of the running interpreter
# carries a libcurl that works. The others are built by cibuildwheel, which needs containers and macOS.

job_wheels() {
    need_venv
    need_group wheels
    try all_wheels_are_declared
    if [ "$(uname)" = Linux ]; then
        try wheel_of_this_interpreter
    else
        skip "auditwheel repairs wheels on Linux only"
    fi
    return "$STATUS"
}

# What cibuildwheel would build: CPython 3.11 to the newest, and those without the GIL from 3.14 on, on
# each kind of system.
all_wheels_are_declared() {
    local minor system
    {
        for system in manylinux_x86_64 musllinux_x86_64 manylinux_aarch64 musllinux_aarch64 macosx_arm64; do
            for ((minor = 11; minor <= NEWEST; minor++)); do
                echo "cp3$minor-$system"
                [ "$minor" -lt 14 ] || echo "cp3${minor}t-$system"
            done
        done
    } | sort >"$WORK/wheels-expected"
    {
        in_venv cibuildwheel --print-build-identifiers --platform linux --archs x86_64
        in_venv cibuildwheel --print-build-identifiers --platform linux --archs aarch64
        in_venv cibuildwheel --print-build-identifiers --platform macos --archs arm64
    } | sort >"$WORK/wheels-declared"
    diff "$WORK/wheels-expected" "$WORK/wheels-declared"
}

wheel_of_this_interpreter() {
    local wheels=$WORK/wheels environment=$WORK/wheel-env
    unpack_sdist
    need_libcurl # to be carried
    quietly "building a wheel" env XTREMEFLOW_CARRY_LIBCURL=1 \
        "$VENV/bin/python" -m pip wheel --no-deps --wheel-dir "$wheels/built" "$WORK/unpacked"
    quietly "repairing it" env PATH="$VENV/bin:$PATH" \
        "$VENV/bin/python" -m auditwheel repair --strip --wheel-dir "$wheels" "$wheels"/built/*.whl
    make_venv "$environment" "$VENV/bin/python"
    quietly "installing it" "$environment/bin/python" -m pip install "$wheels"/*.whl
    (cd / && "$environment/bin/python" -I -c "$SMOKE" && "$environment/bin/python" -I -c "$CARRIES")
}

CARRIES='
import xtremeflow.http

loaded = {line.split()[-1] for line in open("/proc/self/maps") if "libcurl" in line}
assert loaded and all("xtremeflow.libs/" in path for path in loaded), loaded
print("it carries libcurl", xtremeflow.http.LIBCURL)
'
