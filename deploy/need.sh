#!/bin/sh
# need.sh [--install] [--build]: are the packages of packages.txt there? Names what is missing and the
# line that installs it; with --install, and as root, installs it. --build: only what building violin needs.
here=$(dirname "$0")
list=$(cat "$here/packages.txt")
case " $* " in *" --build "*) list=$(sed '/^# tests/,$d' "$here/packages.txt") ;; esac
want=$(echo "$list" | sed 's/#.*//' | tr -s ' \n' ' ')
command -v dpkg-query >/dev/null 2>&1 || exit 0 # not Debian: the compiler will tell
have=$(dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' $want 2>/dev/null | sed -n 's/^ii *//p')
missing=
for p in $want; do
    echo "$have" | grep -qx -- "$p" || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
line="apt-get install -y --no-install-recommends$missing"
case " $* " in *" --install "*) install=1 ;; *) install= ;; esac
if [ -z "$install" ]; then
    echo "Missing Debian packages:$missing" >&2
    echo "Install them with (as root, or run 'make deps'):" >&2
    echo "    $line" >&2
    exit 1
fi
[ "$(id -u)" = 0 ] || { echo "Missing packages; as root: $line" >&2; exit 1; }
echo "Installing:$missing"
export DEBIAN_FRONTEND=noninteractive
$line -q >/tmp/violin-apt.$$ 2>&1 || { apt-get update -q >/tmp/violin-apt.$$ 2>&1 && $line -q >>/tmp/violin-apt.$$ 2>&1; } ||
    { cat /tmp/violin-apt.$$ >&2; rm -f /tmp/violin-apt.$$; exit 1; }
rm -f /tmp/violin-apt.$$
