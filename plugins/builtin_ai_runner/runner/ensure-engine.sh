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

wait_for_engine() { # PID, or nothing where an init system looks after it
  local waited
  for ((waited = 0; waited < wait_s; waited++)); do
    if answers; then
      say "ready after $waited s, version $(version)"
      return
    fi
    [[ -z ${1:-} ]] || kill -0 "$1" 2>/dev/null ||
      fail "dockerd ended; see $log: $(tail -n 3 "$log")"
    sleep 1
  done
  fail "dockerd did not answer in $wait_s s"
}

# Files that outlived their processes: where such a number belongs to another process by now, the
# engine takes that for its own and does not start.
forget_the_dead() {
  local file pid name
  for file in /var/run/docker.pid /var/run/docker/containerd/containerd.pid; do
    [[ -f $file ]] || continue
    pid=$(<"$file") name=""
    [[ ! -r /proc/$pid/comm ]] || name=$(<"/proc/$pid/comm")
    case $name in dockerd | containerd) ;; *) rm -f "$file" ;; esac
  done
}

start_engine() {
  if [[ -d /run/systemd/system ]]; then
    say "starting docker.service"
    systemctl start docker
    wait_for_engine
  else
    forget_the_dead
    setsid dockerd >>"$log" 2>&1 </dev/null &
    say "started dockerd, pid $!, log $log"
    wait_for_engine $!
  fi
}

if answers; then
  say "version $(version) answers already"
  exit 0
fi
if [[ $(id -u) -ne 0 ]]; then
  fail "no Docker engine answers. Start it (systemctl start docker), or run this as root"
fi
for program in docker dockerd iptables; do
  command -v "$program" >/dev/null || { install_engine; break; }
done
[[ -d /run/systemd/system ]] || choose_iptables
start_engine
