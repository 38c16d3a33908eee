# Sourced by ./dev check: whether _core compiles and links for Windows. It is not run there.

CROSS=x86_64-w64-mingw32

# The sources with MinGW, against the running CPython's headers, which are the same on all systems but
# for pyconfig.h. Linked with every symbol resolved: those of Python by a library that is made of
# their names, as python3X.dll would, all others by what Windows has.
job_windows() {
    local file python symbol windows=$WORK/windows objects=() symbols=()
    need_venv
    need_command $CROSS-gcc gcc-mingw-w64-x86-64 || skip_job "there is no MinGW compiler ($CROSS-gcc)"
    mkdir -p "$windows"
    python=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    cp -RL "$python" "$windows/include"
    cp scripts/windows/pyconfig.h "$windows/include/pyconfig.h"
    for file in csrc/core/*.c csrc/binding/*.c csrc/binding/{loop,call,scheduler}/*.c \
        csrc/net/{head,json,limits,observation,usage,written}.c; do # as setup.py has them
        objects+=("$windows/$(basename "$(dirname "$file")")-$(basename "$file" .c).o")
        try $CROSS-gcc "${WARNINGS[@]}" -isystem "$windows/include" -c "$file" -o "${objects[-1]}"
    done
    [ "$STATUS" -eq 0 ] || return "$STATUS"
    for symbol in $($CROSS-nm --undefined-only --format=just-symbols "${objects[@]}" | sort -u); do
        [[ ! ${symbol#__imp_} =~ ^_?Py ]] || symbols+=("${symbol#__imp_}")
    done
    {
        echo "LIBRARY python3.dll"
        echo EXPORTS
        printf '%s\n' "${symbols[@]}" | sort -u
    } >"$windows/python.def"
    $CROSS-dlltool --input-def "$windows/python.def" --output-lib "$windows/libpython.a"
    $CROSS-gcc -shared -o "$windows/_core.pyd" "${objects[@]}" "$windows/libpython.a" \
        -Wl,--no-undefined -static-libgcc
    $CROSS-objdump --private-headers "$windows/_core.pyd" | grep '\] PyInit__core$' >/dev/null
}
