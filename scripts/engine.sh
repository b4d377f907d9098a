#!/usr/bin/env bash
# A container engine of Debian's packages, unpacked into a folder of its own, for machines that have
# none: scripts/engine.sh start|stop|env, as root on Debian. Nothing is installed and no
# firewall rule is made, so containers reach each other and loopback ports, and nothing beyond.
#
#     eval "$(scripts/engine.sh start)"; make image; scripts/engine.sh stop
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${ENGINE_FOLDER:-/var/tmp/gnn-engine}
socket=$folder/engine.sock

unpack() {
  [ -x "$folder/root/usr/sbin/dockerd" ] && return
  mkdir -p "$folder/debs" "$folder/root" "$folder/config/cli-plugins"
  (cd "$folder/debs" && apt-get -o APT::Sandbox::User=root download -qq docker.io containerd runc tini)
  for package in "$folder"/debs/*.deb; do
    dpkg -x "$package" "$folder/root"
  done
  SUITES="trixie forky" scripts/newer-debian.sh "$folder/root" \
    docker-compose=2.40.3-3 docker-buildx=0.13.1+ds1-3
  ln -sf "$folder"/root/usr/libexec/docker/cli-plugins/docker-* "$folder/config/cli-plugins/"
}

start() {
  [ -f "$folder/pid" ] && kill -0 "$(cat "$folder/pid")" 2>/dev/null && return
  PATH=$folder/root/usr/bin:$folder/root/usr/sbin:$PATH setsid dockerd \
    --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/pid" \
    --host "unix://$socket" --iptables=false --ip6tables=false --bridge=none \
    >"$folder/log" 2>&1 </dev/null &
  for _ in $(seq 300); do
    DOCKER_HOST=unix://$socket "$folder/root/usr/bin/docker" info >/dev/null 2>&1 && return
    sleep 0.2
  done
  tail -3 "$folder/log" >&2
  exit 1
}

stop() {
  local pid
  pid=$(cat "$folder/pid" 2>/dev/null) || return 0
  kill "$pid"
  while kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
}

environment() {
  echo "export DOCKER_HOST=unix://$socket DOCKER_CONFIG=$folder/config" \
    "PATH=$folder/root/usr/bin:\$PATH"
}

case ${1:-} in
  start) unpack >&2; start; environment ;;
  stop) stop ;;
  env) environment ;;
  *) echo "usage: scripts/engine.sh start|stop|env" >&2; exit 2 ;;
esac
