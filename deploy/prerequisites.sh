# Functions for deploy/up and tests/run: what this machine must have, and how it gets it.
# Sourced by bash with `set -euo pipefail`, standing in the project's top folder.
#
# Invariants: no server is left running that was not there; nothing is installed that is there already;
# what can't be installed is named with the exact command.

started_at=${EPOCHREALTIME/[.,]/}

# step TEXT… : one line of progress, with the seconds since the start.
step() {
  local now=${EPOCHREALTIME/[.,]/}
  printf '[%6.1f s] %s\n' "$(((now - started_at) / 1000))e-3" "$*"
}

fail() {
  printf '\nerror: %s\n' "$*" >&2
  exit 1
}

# as_root COMMAND… : runs it as root; an ordinary user needs sudo.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

can_become_root() {
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null
}

is_ubuntu() {
  [ -r /etc/os-release ] && (. /etc/os-release && [ "${ID:-}" = ubuntu ])
}

is_debian() {
  [ -r /etc/os-release ] && (. /etc/os-release && case " ${ID:-} ${ID_LIKE:-} " in *" debian "* | *" ubuntu "*) true ;; *) false ;; esac)
}

# version_at_least WANTED FOUND
version_at_least() {
  [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

check_rust() {
  local wanted found
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  command -v cargo >/dev/null && command -v rustc >/dev/null || fail "Rust $wanted or newer is needed: install it from https://rustup.rs, then run this again."
  found=$(rustc --version | awk '{print $2}')
  version_at_least "$wanted" "$found" || fail "Rust $wanted or newer is needed, this is $found. Update it with: rustup update stable"
  command -v cc >/dev/null || need_package cc gcc libc6-dev
  step "Rust $found"
}

# The folder of the newest PostgreSQL server programs, 15 or newer; nothing when there is none.
postgres_folder() {
  local folder
  for folder in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -t/ -k5 -rn); do
    [ -x "$folder/postgres" ] && [ "$(basename "$(dirname "$folder")")" -ge 15 ] && { echo "$folder"; return; }
  done
  folder=$(command -v postgres) || return 0
  folder=$(dirname "$(readlink -f "$folder")")
  version_at_least 15 "$(postgres_version "$folder")" && echo "$folder"
  return 0
}

# postgres_version FOLDER : of the server there, as in "postgres (PostgreSQL) 17.2 (Debian …)"; 0 when it does not say.
postgres_version() {
  local said
  said=$("$1/postgres" --version 2>/dev/null | sed -n 's/^[^0-9]*\([0-9][0-9.]*\).*/\1/p')
  echo "${said:-0}"
}

node_is_enough() {
  command -v node >/dev/null && command -v npm >/dev/null && version_at_least 18 "$(node --version | tr -d v)"
}

wanted_packages=()
wanted_for=()

# need_package WHAT PACKAGE… : remembers what is missing.
need_package() {
  wanted_for+=("$1")
  shift
  wanted_packages+=("$@")
}

# Installs all that was found missing, in one go, without starting any service.
install_wanted() {
  [ ${#wanted_packages[@]} -gt 0 ] || return 0
  local command="apt-get install -y --no-install-recommends ${wanted_packages[*]}"
  is_debian || fail "missing: ${wanted_for[*]}. On Debian or Ubuntu this installs them: $command
On other systems install: PostgreSQL 15 or newer (server), Redis or Valkey, Node.js 18 or newer with npm, a C compiler; then run this again."
  can_become_root || fail "missing: ${wanted_for[*]}. Ask an administrator to run: $command"
  step "Installing ${wanted_for[*]} (${wanted_packages[*]})"
  local log
  log=$(mktemp)
  if ! (quietly_install "${wanted_packages[@]}") >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    fail "the packages could not be installed; the command was: $command"
  fi
  rm -f "$log"
  wanted_packages=() wanted_for=()
  # A system's package may be older than what we need.
  [ -n "$(postgres_folder)" ] || fail "PostgreSQL 15 or newer is needed, and this system's package is older. Install it from https://www.postgresql.org/download/, then run this again."
  command -v redis-server >/dev/null || command -v valkey-server >/dev/null || fail "Redis was installed and is not found: redis-server or valkey-server must be in the PATH."
  command -v cc >/dev/null || fail "a C compiler was installed and is not found: cc must be in the PATH."
}

# Runs in a subshell: its trap must not outlive it. `set -e` sleeps inside a condition, hence each `|| exit 1`.
quietly_install() {
  export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
  local policy=/usr/sbin/policy-rc.d unit had=" "
  for unit in redis-server valkey-server prometheus; do [ -e "/usr/bin/$unit" ] && had+="$unit "; done
  # No cluster of our making, now or later: ours are private.
  if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    as_root mkdir -p /etc/postgresql-common || exit 1
    echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null || exit 1
  fi
  # Debian starts a service when its package is installed, unless this file forbids it.
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null || exit 1
    as_root chmod 755 "$policy" || exit 1
    trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  as_root apt-get update
  as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get install -y --no-install-recommends -o Dpkg::Options::=--force-confold "$@"
  # Nor does it start by itself when the machine does.
  if command -v systemctl >/dev/null && [ -d /run/systemd/system ]; then
    for unit in redis-server valkey-server prometheus; do
      case "$had" in *" $unit "*) ;; *) as_root systemctl disable --now "$unit" 2>/dev/null || true ;; esac
    done
  fi
}

need_servers() {
  [ -n "$(postgres_folder)" ] || need_package "PostgreSQL" postgresql
  command -v redis-server >/dev/null || command -v valkey-server >/dev/null || need_package "Redis" redis-server
  # Ends our servers if we are killed; part of every Debian, named for others.
  command -v setpriv >/dev/null || need_package "setpriv" util-linux
}

need_node() {
  node_is_enough || need_package "Node.js" nodejs npm
}

# Builds the web pages when their sources are newer than what was built.
build_web() {
  local stamp=services/web/dist/.built
  if [ -f "$stamp" ] && [ -z "$(find services/web -newer "$stamp" -type f -not -path '*/node_modules/*' -not -path '*/dist/*' -print -quit)" ]; then
    step "Web pages are built already"
    return
  fi
  node_is_enough || fail "Node.js 18 or newer is needed to build the web pages; this is $(node --version 2>/dev/null || echo none)."
  step "Building the web pages"
  npm_install services/web
  npm_quietly run build --prefix services/web
  touch "$stamp"
}

# npm_install FOLDER : installs what its lock file names.
# Not `npm ci`: newer versions of npm refuse a lock file without the optional packages of every other platform.
npm_install() {
  npm_quietly install --no-save --prefix "$1"
}

# npm_quietly ARGUMENT… : runs npm and shows its output only when it fails.
npm_quietly() {
  local log
  log=$(mktemp)
  if ! npm --no-audit --no-fund "$@" >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    rm -f "$log"
    fail "npm $* failed"
  fi
  rm -f "$log"
}

# Waits until a city has announced itself in a data folder, and prints its origin.
# city_origin DATA_FOLDER PID
city_origin() {
  local turn
  for turn in $(seq 900); do
    [ -f "$1/run.json" ] && { sed -n 's/.*"http": *"\([^"]*\)".*/\1/p' "$1/run.json"; return; }
    kill -0 "$2" 2>/dev/null || return 0
    sleep 0.1
  done
}

target_folder() {
  echo "${CARGO_TARGET_DIR:-target}"
}
