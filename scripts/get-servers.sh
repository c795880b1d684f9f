#!/usr/bin/env bash
# Usage: scripts/get-servers.sh [-d DIR] [NAME...]
#
# Fetches real Redis, Valkey and Redict servers for the demo, the tests and the
# benchmarks, from the Debian mirror that this machine is configured with. Root
# is not needed and nothing is installed: each server is unpacked, with the C
# library it was built for, into DIR/NAME, and runs as DIR/NAME/bin/*-server.
# DIR is $GODWIT_SERVERS, or else .servers beside go.mod.
#
# With no NAME, all of these (Debian's release in brackets):
#   redis-6.0 [bullseye]   redis-7.0 [bookworm]             redis-8.0 [trixie]
#   valkey-8.0 [bookworm-backports]                         valkey-8.1 [trixie]
#   redict-7.3 [bookworm-backports]
#   redis-newest, valkey-newest [the later one of sid and experimental]: links
#   to directories named after the version found, such as redis-8.6
#   redisearch-1.2 [bookworm]: no server but a module, DIR/NAME/redisearch.so, for
#   the tests of what modules hold; it loads into all of them
#
# What is already there is left alone, without any use of the network. Two runs
# at once do not disturb each other.
#
# Exit status: 0 all are there, 1 nothing could be tried, 2 some are missing.
set -euo pipefail

say() { echo "get-servers: $*" >&2; }
fatal() { say "$@"; exit 1; }

all="redis-6.0 redis-7.0 redis-8.0 redis-newest valkey-8.0 valkey-8.1 valkey-newest redict-7.3 redisearch-1.2"

# release_of NAME prints the Debian release to look in.
release_of() {
  case $1 in
    redis-6.0) echo bullseye ;;
    redis-7.0 | valkey-8.0 | redict-7.3 | redisearch-1.2) echo bookworm ;;
    redis-8.0 | valkey-8.1) echo trixie ;;
    redis-newest | valkey-newest) echo sid ;;
    *) return 1 ;;
  esac
}

dir=${GODWIT_SERVERS:-$(cd "$(dirname "$0")/.." && pwd)/.servers}
while getopts d:h option; do
  case $option in
    d) dir=$OPTARG ;;
    h) sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) exit 1 ;;
  esac
done
shift $((OPTIND - 1))
# shellcheck disable=SC2086 # a list of words
[ $# -gt 0 ] || set -- $all
for name in "$@"; do
  release_of "$name" >/dev/null || fatal "unknown server $name; known are: $all"
done

# is_there NAME: the server was put in its place whole, by one rename.
is_there() { [ -x "$dir/$1/bin/${1%%-*}-server" ] || [ -f "$dir/$1/${1%%-*}.so" ]; }

# package_of NAME prints the Debian package that has it.
package_of() {
  case $1 in
    redisearch-*) echo redis-redisearch ;;
    *) echo "${1%%-*}-tools" ;;
  esac
}

wanted=()
for name in "$@"; do
  is_there "$name" || wanted+=("$name")
done
[ ${#wanted[@]} -gt 0 ] || exit 0

for tool in apt-get apt-cache dpkg-deb flock; do
  command -v $tool >/dev/null || fatal "$tool not found: this works on Debian only; put a server on PATH instead"
done
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
exec 9>"$dir/.lock"
flock 9 # a second run waits here, and then finds the work done

rm -rf "$dir"/.work.* # what a killed run has left
work=$(mktemp -d "$dir/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# mirror prints the URI of the first Debian archive among this machine's sources.
mirror() {
  local codename
  # shellcheck disable=SC1091
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-sid}")
  apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    awk -v codename="$codename" '
      $3 == "main" && ($2 == codename || $2 ~ /^(oldoldstable|oldstable|stable|testing|unstable|sid|bullseye|bookworm|trixie|forky)$/) && !found {
        print $1; found = 1
      }'
}

# in_release RELEASE TOOL ARGUMENT... runs apt-get or apt-cache on a world of its own:
# that release, no package installed, all files under $work.
in_release() {
  local release=$1 tool=$2
  shift 2
  APT_CONFIG=$work/$release/apt.conf "$tool" -q "$@"
}

# open_release RELEASE fetches its lists of packages, once.
open_release() {
  local release=$1 home=$work/$1 suite keyring signed=
  [ ! -e "$home/failed" ] || return 1
  [ ! -e "$home/opened" ] || return 0
  mkdir -p "$home"/{lists/partial,archives/partial,empty}
  : >"$home/status"
  # Older releases are signed with keys that only Debian's full keyring has.
  for keyring in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
    [ ! -r "$keyring" ] || signed="[signed-by=$keyring]"
  done
  for suite in "$release" $(extra_suite "$release"); do
    echo "deb $signed $(cat "$work/mirror") $suite main"
  done >"$home/sources.list"
  [ -z "${APT_CONFIG:-}" ] || cat "$APT_CONFIG" >"$home/apt.conf" # it may name a proxy
  cat >>"$home/apt.conf" <<CONF
Dir::Etc::SourceList "$home/sources.list";
Dir::Etc::SourceParts "$home/empty";
Dir::Etc::Preferences "$home/none";
Dir::Etc::PreferencesParts "$home/empty";
Dir::State "$home";
Dir::State::Lists "$home/lists";
Dir::State::Status "$home/status";
Dir::Cache "$home";
Dir::Cache::Archives "$home/archives";
APT::Sandbox::User "";
APT::Install-Recommends "false";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "3";
Debug::NoLocking "true";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
CONF
  say "reading the package lists of Debian $release"
  if ! in_release "$release" apt-get update >"$home/log" 2>&1 || grep -q '^[EW]: Failed to fetch' "$home/log"; then
    say "the mirror $(cat "$work/mirror") gives no package lists of Debian $release:"
    grep '^[EW]:' "$home/log" | head -3 >&2 || true
    touch "$home/failed"
    return 1
  fi
  touch "$home/opened"
}

extra_suite() {
  case $1 in
    bookworm) echo bookworm-backports ;;
    sid) echo experimental ;;
  esac
}

# versions RELEASE PACKAGE prints the versions there are, the highest first.
versions() { in_release "$1" apt-cache madison "$2" | awk -F '|' '{ gsub(/ /, "", $2); print $2 }' | uniq; }

# newest_version RELEASE PACKAGE SERIES prints the highest version of the
# series, or of all when that is "newest".
newest_version() {
  versions "$1" "$2" | awk -v series="$3" '
    { number = $1; sub(/^[0-9]+:/, "", number) } # without the epoch
    !found && (series == "newest" || index(number, series ".") == 1) { print $1; found = 1 }'
}

# series_of VERSION prints 8.6 for 5:8.6.1-2.
series_of() { echo "$1" | sed -E 's/^[0-9]+://; s/^([0-9]+\.[0-9]+).*/\1/'; }

# fetch NAME
fetch() {
  local name=$1 product=${1%%-*} build=build release package version place
  release=$(release_of "$name")
  package=$(package_of "$name")
  [ "$package" = "$product-tools" ] || build=unpack_module
  open_release "$release" || return 1
  version=$(newest_version "$release" "$package" "${name#*-}")
  if [ -z "$version" ]; then
    say "Debian $release on the mirror $(cat "$work/mirror") has no $name;" \
      "versions of $package there: $(versions "$release" "$package" | paste -sd' ')"
    return 1
  fi
  place=$product-$(series_of "$version")
  if ! is_there "$place"; then
    say "fetching $product $version from Debian $release"
    $build "$release" "$product" "$version" || return 1
    rm -rf "${dir:?}/$place"
    mv "$work/server" "$dir/$place"
  fi
  [ "$place" = "$name" ] || ln -sfn "$place" "$dir/$name"
}

# build RELEASE PRODUCT VERSION unpacks into $work/server. apt finds the libraries
# that PRODUCT-tools needs. That package has the server too, by the name of
# check-rdb: it is one program, which goes by the name it is called by.
build() {
  local release=$1 product=$2 version=$3 root=$work/server/root deb loader tool log=$work/$1/log
  local programs=$root/usr/bin
  rm -rf "$work/server" "$work/$release"/archives/*.deb
  mkdir -p "$root" "$work"/server/{bin,loader}
  if ! in_release "$release" apt-get install --yes --download-only "$product-tools=$version" >"$log" 2>&1; then
    say "downloading $product $version failed:"
    grep '^E:' "$log" >&2 || tail -n 3 "$log" >&2
    return 1
  fi
  for deb in "$work/$release"/archives/{lib,lua-,zlib,"$product"-tools_}*.deb; do
    [ ! -e "$deb" ] || dpkg-deb -x "$deb" "$root" || return 1
  done
  rm -rf "$root"/{etc,var,usr/share,usr/sbin} "$root"/{,usr/}lib/*/{gconv,perl*}

  mv "$programs/$product-check-rdb" "$programs/$product-server"
  for tool in sentinel check-rdb check-aof; do
    ln -sf "$product-server" "$programs/$product-$tool"
  done

  loader=$(find "$root" -path '*lib/*-linux-gnu*/ld-linux*.so.*' -print -quit)
  [ -n "$loader" ] || { say "$product $version: no ld.so among its packages"; return 1; }
  for tool in server sentinel check-rdb check-aof cli benchmark; do
    # ps shows a program under the name by which its loader was started.
    ln -s "../${loader#"$work/server/"}" "$work/server/loader/$product-$tool"
    wrapper "$product" "$tool" >"$work/server/bin/$product-$tool"
    chmod +x "$work/server/bin/$product-$tool"
  done
  # Before 7.0 benchmark has no --version, and server no --help that succeeds.
  for tool in "server --version" "cli --version" "benchmark --help"; do
    # shellcheck disable=SC2086 # two words
    if ! "$work/server/bin/$product-"$tool >"$log" 2>&1; then
      say "$product-$tool $version does not run here: $(tail -n 1 "$log")"
      return 1
    fi
  done
  if ! "$work/server/bin/$product-server" --version | grep -q 'server v='; then
    say "the program $product-check-rdb of $product-tools $version is not the server too"
    return 1
  fi
}

# unpack_module RELEASE PRODUCT VERSION unpacks a module into $work/server. It
# needs no library but the C library, which its server brings along.
unpack_module() {
  local release=$1 product=$2 version=$3 unpacked=$work/server/root log=$work/$1/log
  rm -rf "$work/server"
  mkdir -p "$unpacked"
  if ! (cd "$work/server" && in_release "$release" apt-get download "$(package_of "$product-")=$version") >"$log" 2>&1; then
    say "downloading $product $version failed:"
    grep '^E:' "$log" >&2 || tail -n 3 "$log" >&2
    return 1
  fi
  dpkg-deb -x "$work"/server/*.deb "$unpacked" || return 1
  mv "$unpacked/usr/lib/redis/modules/$product.so" "$work/server/" || return 1
  rm -rf "$work"/server/*.deb "$unpacked"
}

# wrapper PRODUCT TOOL prints the script that starts a program with the loader
# and the libraries beside it, whatever this machine's own are.
wrapper() {
  local root=$work/server/root paths
  paths=$(cd "$root" && find . -type d -path './*lib/*-linux-gnu*' -prune -printf ':$here/root/%P')
  cat <<SCRIPT
#!/bin/sh
here=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")
export LC_ALL=C # a library brings no other locale along
export LUA_CPATH="\$here/root/usr/lib/$(basename "${paths##*:}")/lua/5.1/?.so" # cjson and others of Redis 6.0
exec "\$here/loader/$1-$2" --inhibit-cache --library-path "${paths#:}" "\$here/root/usr/bin/$1-$2" "\$@"
SCRIPT
}

mirror >"$work/mirror"
[ -s "$work/mirror" ] || fatal "no Debian mirror among this machine's apt sources; put a server on PATH instead"

missing=()
for name in "${wanted[@]}"; do
  is_there "$name" || fetch "$name" || missing+=("$name")
done
if [ ${#missing[@]} -gt 0 ]; then
  say "missing: ${missing[*]}"
  exit 2
fi
