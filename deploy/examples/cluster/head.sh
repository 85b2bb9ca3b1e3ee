#!/bin/sh
# head.sh start|stop: makes this guest the head: addresses, routing with NAT, home directories. See README.md.
set -eu
. "$(dirname "$0")/cluster.conf"

addresses() {
    ip link set "$INSIDE" up
    ip addr replace "$HEAD/$PREFIX" dev "$INSIDE"
    ip link set "$OUTSIDE" up
    if [ "$OUTSIDE_ADDRESS" = dhcp ]; then
        dhclient -pf "$RUN/dhclient.pid" "$OUTSIDE"
    else
        ip addr replace "$OUTSIDE_ADDRESS" dev "$OUTSIDE"
        [ -z "$OUTSIDE_GATEWAY" ] || ip route replace default via "$OUTSIDE_GATEWAY"
    fi
}

# Compute guests reach what is outside; from outside only what they began comes back.
nat() {
    echo 1 > /proc/sys/net/ipv4/ip_forward
    nft -f - <<EOF
table ip violin_cluster
delete table ip violin_cluster
table ip violin_cluster {
    chain forward {
        type filter hook forward priority 0; policy drop;
        iifname "$INSIDE" oifname "$OUTSIDE" accept
        iifname "$OUTSIDE" oifname "$INSIDE" ct state established,related accept
    }
    chain postrouting {
        type nat hook postrouting priority 100;
        oifname "$OUTSIDE" masquerade
    }
}
EOF
}

network() {
    echo "${HEAD%.*}.0/$PREFIX"
}

homes() {
    mkdir -p "$HOMES"
    case $SERVICE in
    nfs)
        exportfs -o rw,sync,no_subtree_check,fsid=0 "$(network):$HOMES"
        rpc.nfsd 8
        ;;
    sftp)
        # plain on the wire: the wire is the environment's Ethernet, which is encrypted between hosts
        socat "TCP-LISTEN:$PORT,bind=$HEAD,reuseaddr,fork" "EXEC:/usr/lib/openssh/sftp-server -d $HOMES" &
        echo $! > "$RUN/sftp.pid"
        ;;
    *)
        echo "head.sh: SERVICE=$SERVICE: nfs or sftp" >&2
        exit 2
        ;;
    esac
}

case ${1:-} in
start)
    mkdir -p "$RUN"
    addresses
    nat
    homes
    ;;
stop)
    nft delete table ip violin_cluster 2>/dev/null || :
    [ "$SERVICE" != nfs ] || exportfs -u "$(network):$HOMES" || :
    for f in "$RUN/sftp.pid" "$RUN/dhclient.pid"; do
        [ ! -f "$f" ] || { kill "$(cat "$f")" 2>/dev/null || :; rm -f "$f"; }
    done
    ;;
*)
    echo "usage: head.sh start|stop" >&2
    exit 2
    ;;
esac
