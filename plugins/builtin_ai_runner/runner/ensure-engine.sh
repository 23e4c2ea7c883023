#!/usr/bin/env bash
# Make sure that a Docker engine answers: start Debian's own as root, or say what to do.
#
# Idempotent. Environment: ENGINE_LOG (default /var/log/podium-dockerd.log), ENGINE_WAIT_S (60).
set -euo pipefail

log=${ENGINE_LOG:-/var/log/podium-dockerd.log}
wait_s=${ENGINE_WAIT_S:-60}

say() { printf 'engine: %s\n' "$*"; }
fail() { printf 'engine: %s\n' "$*" >&2; exit 1; }
answers() { timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }
version() { timeout 10 docker version --format '{{.Server.Version}}'; }

install_engine() {
  command -v apt-get >/dev/null ||
    fail "install Docker (https://docs.docker.com/engine/install/), start it, then try again"
  say "installing docker.io, iptables and debootstrap"
  export DEBIAN_FRONTEND=noninteractive
  # No service may start by itself: where no init runs that would fail, elsewhere it would race.
  apt-get update -qq </dev/null
  apt-get install -y -qq --no-install-recommends docker.io iptables debootstrap \
    </dev/null >/dev/null
}

# Old kernels speak only the older of the two firewall interfaces.
choose_iptables() {
  if ! iptables -t nat -L -n >/dev/null 2>&1 && command -v iptables-legacy >/dev/null &&
    iptables-legacy -t nat -L -n >/dev/null 2>&1; then
    say "this kernel has no nf_tables: using iptables-legacy"
    update-alternatives --set iptables "$(command -v iptables-legacy)" >/dev/null
    update-alternatives --set ip6tables "$(command -v ip6tables-legacy)" >/dev/null
  fi
}

start_engine() {
  local pid
  setsid dockerd >>"$log" 2>&1 </dev/null &
  pid=$!
  say "started dockerd, pid $pid, log $log"
  for ((waited = 0; waited < wait_s; waited++)); do
    if answers; then
      say "ready after $waited s, version $(version)"
      return
    fi
    kill -0 "$pid" 2>/dev/null || fail "dockerd ended; see the end of $log: $(tail -n 3 "$log")"
    sleep 1
  done
  fail "dockerd did not answer in $wait_s s; see $log"
}

if answers; then
  say "version $(version) answers already"
  exit 0
fi
if [[ $(id -u) -ne 0 ]]; then
  fail "no Docker engine answers. Start it (systemctl start docker), or run this as root"
fi
command -v dockerd >/dev/null && command -v iptables >/dev/null || install_engine
choose_iptables
start_engine
