# Sourced by ./dev check: the README's two commands as they run on a machine that has nothing.
# Not among the jobs of a plain `./dev check`: it downloads three systems and needs root.

# Debian 12, 13, and what comes next. FRESH_RELEASES="sid" ./dev check fresh  runs one alone.
FRESH_RELEASES=${FRESH_RELEASES:-bookworm trixie sid}

job_fresh() {
    local release
    [ "$(uname)" = Linux ] || skip_job "chroots of Debian are made on Linux"
    [ "$(id -u)" -eq 0 ] || skip_job "chroots are made by root"
    need_command debootstrap debootstrap || skip_job "there is no debootstrap"
    for release in $FRESH_RELEASES; do
        echo "Debian $release:"
        try in_fresh "$release"
    done
    return "$STATUS"
}

# in_fresh RELEASE: both commands, in a copy of this checkout. The chroot stays if one fails.
in_fresh() {
    local chroot=$WORK/fresh-$1 command
    rm -rf "$chroot"
    mkdir -p "$chroot"
    quietly "making a chroot of Debian $1" debootstrap --variant=minbase "$1" "$chroot"
    cp /etc/resolv.conf "$chroot/etc/resolv.conf"
    # A mirror that stands still will do.
    echo 'Acquire::Check-Valid-Until "false";' >"$chroot/etc/apt/apt.conf.d/00fresh"
    # A proxy with a certificate of its own is known to pip by this variable.
    [ -z "${PIP_CERT:-}" ] || cp "$PIP_CERT" "$chroot/proxy.pem"
    mkdir "$chroot/xtremeflow"
    git ls-files -z --cached --others --exclude-standard |
        tar --create --null --ignore-failed-read --files-from=- 2>/dev/null |
        tar --extract --directory="$chroot/xtremeflow"
    for command in test demo; do
        unshare --mount "$BASH" -c "$MOUNT_AND_RUN" fresh "$chroot" $command || return 1
    done
    rm -rf "$chroot"
}

# In a mount namespace of its own, so that nothing stays mounted.
# shellcheck disable=SC2016 # expanded by the shell that runs it
MOUNT_AND_RUN='
set -euo pipefail
mount -t proc proc "$1/proc"
mount -t devpts devpts "$1/dev/pts"
mount -t tmpfs tmpfs "$1/dev/shm"
variables=(HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin)
[ ! -e "$1/proxy.pem" ] || variables+=(PIP_CERT=/proxy.pem)
for name in CI http_proxy https_proxy no_proxy; do
    [ -z "${!name:-}" ] || variables+=("$name=${!name}")
done
exec chroot "$1" /usr/bin/env -i "${variables[@]}" /xtremeflow/dev "$2" </dev/null
'
