#!/bin/sh
# compute.sh start ADDRESS | stop: makes this guest a compute guest of the head in cluster.conf. See README.md.
set -eu
. "$(dirname "$0")/cluster.conf"

start() {
    ip link set "$INSIDE" up
    ip addr replace "$1/$PREFIX" dev "$INSIDE"
    ip route replace default via "$HEAD"
    mkdir -p "$MOUNT"
    case $SERVICE in
    # a guest that moves is away for milliseconds: both wait, and go on
    nfs) mount -t nfs4 -o hard,proto=tcp "$HEAD:/" "$MOUNT" ;;
    sftp) sshfs -o "directport=$PORT,reconnect" "$HEAD:$HOMES" "$MOUNT" ;;
    *)
        echo "compute.sh: SERVICE=$SERVICE: nfs or sftp" >&2
        exit 2
        ;;
    esac
}

case ${1:-} in
start)
    [ $# -eq 2 ] || { echo "usage: compute.sh start ADDRESS" >&2; exit 2; }
    start "$2"
    ;;
stop) umount "$MOUNT" ;;
*)
    echo "usage: compute.sh start ADDRESS | stop" >&2
    exit 2
    ;;
esac
