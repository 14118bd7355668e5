#!/bin/sh
# headers.sh FOLDER: ONNX Runtime's C and C++ headers, and nlohmann's json.hpp, from Debian into FOLDER; installs nothing
#
# Debian 12 has no headers of ONNX Runtime, Debian 13 (trixie) does: apt is asked with a list and a state of its own,
# from the mirror that the system's own lists name, or else deb.debian.org. Needs apt, dpkg-deb and awk, but not root.
set -eu
[ $# = 1 ] || { echo "usage: headers.sh FOLDER" >&2; exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/parts"

# The first mirror of the system's that is not the one for security updates, from .list or .sources files
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    awk '/^(deb|URIs:) / { for (i = 2; i <= NF; i++) if ($i ~ /^https?:.*\/debian\/?$/) { print $i; exit } }')
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:-http://deb.debian.org/debian} trixie main" \
    > "$work/trixie.list"

in_trixie() {
    apt-get -q -o Dir::Etc::sourcelist="$work/trixie.list" -o Dir::Etc::sourceparts="$work/parts" \
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User= "$@"
}

in_trixie update
cd "$work"
in_trixie download libonnxruntime-dev nlohmann-json3-dev
for package in ./*.deb; do
    dpkg-deb -x "$package" "$work/unpacked"
done
cp -R "$work/unpacked/usr/include/." "$folder"
header=$(find "$folder" -name onnxruntime_cxx_api.h)
[ -n "$header" ] || { echo "the package holds no onnxruntime_cxx_api.h" >&2; exit 1; }
echo "$header"
