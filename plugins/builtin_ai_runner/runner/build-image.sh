#!/usr/bin/env bash
# Build the image podium/ai-runner-cpu:latest from the Dockerfile beside this script.
#
#   ./build-image.sh [--offline | --online]
#
# Online, the base image comes from a registry. Offline (no image registry, but Debian's and
# Python's package archives), debootstrap makes the base, and pip brings the wheels; that needs
# root. Without an option: whichever works. Idempotent: what has not changed is not built again.
#
# Environment: TAG, EXTRAS (models), BASE (debian:bookworm-slim), MIRROR (debootstrap's own), BASE_TAG, CACHE.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

TAG=${TAG:-podium/ai-runner-cpu:latest}
EXTRAS=${EXTRAS:-models}
BASE=${BASE:-debian:bookworm-slim}
BASE_TAG=${BASE_TAG:-podium/ai-runner-base:bookworm}
MIRROR=${MIRROR:-}
CACHE=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/podium/ai-runner-cpu}
PACKAGES=ca-certificates,espeak-ng,python3,python3-venv
PYTHON_IN_IMAGE=3.11
lock=$here/../../../requirements.lock

say() { printf 'image: %s\n' "$*"; }
fail() { printf 'image: %s\n' "$*" >&2; exit 1; }

check_engine() {
  timeout 10 docker version >/dev/null 2>&1 || fail "no Docker engine answers: ./ensure-engine.sh"
}

registry_answers() {
  docker image inspect "$BASE" >/dev/null 2>&1 || timeout 60 docker pull -q "$BASE" >/dev/null 2>&1
}

make_base() {
  if docker image inspect "$BASE_TAG" >/dev/null 2>&1; then
    say "base $BASE_TAG is here"
    return
  fi
  [[ $(id -u) -eq 0 ]] || fail "debootstrap needs root"
  command -v debootstrap >/dev/null || fail "install debootstrap first (./ensure-engine.sh does)"
  say "making $BASE_TAG with debootstrap (a minute)"
  local root=$work/root
  debootstrap --variant=minbase --include="$PACKAGES" bookworm "$root" ${MIRROR:+"$MIRROR"} \
    >"$work/debootstrap.log" 2>&1 || fail "debootstrap failed: $(tail -n 3 "$work/debootstrap.log")"
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/doc/* \
    "$root"/usr/share/man/* "$root"/usr/share/locale/*
  tar -C "$root" -c . | docker import -c 'LABEL podium.image=ai-runner-base' - "$BASE_TAG" >/dev/null
  rm -rf "$root"
}

# The image's Python may be another than this machine's: wheels are chosen for the image's.
fetch_wheels() {
  local platforms=() minor
  for minor in $(seq 17 36); do platforms+=(--platform "manylinux_2_${minor}_$(uname -m)"); done
  platforms+=(--platform "manylinux2014_$(uname -m)")
  say "fetching wheels"
  mkdir -p "$CACHE/wheels"
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" wheel -q --no-deps -w "$context/wheels" "$context"
  "$work/venv/bin/pip" download -q --disable-pip-version-check -d "$context/wheels" \
    --find-links "$CACHE/wheels" -c "$context/constraints.txt" \
    --only-binary=:all: --python-version "$PYTHON_IN_IMAGE" --implementation cp \
    --abi "cp${PYTHON_IN_IMAGE/./}" --abi abi3 --abi none "${platforms[@]}" \
    hatchling editables "$(ls "$context"/wheels/podium_ai_runner_cpu-*.whl)[$EXTRAS]" 2>&1 |
    { grep -v '^WARNING: Location' || true; }
  cp -n "$context"/wheels/*.whl "$CACHE/wheels/"
  rm -f "$CACHE"/wheels/podium_*
}

make_context() {
  mkdir "$context"
  cp -R "$here/Dockerfile" "$here/pyproject.toml" "$here/README.md" "$here/src" "$context/"
  find "$context/src" -name __pycache__ -prune -exec rm -rf {} +
  if [[ -f $lock ]]; then cp "$lock" "$context/constraints.txt"; else touch "$context/constraints.txt"; fi
}

build() {
  local version
  version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/pyproject.toml")
  say "building $TAG"
  # The old builder is everywhere; the new one cannot start from an image that was only imported.
  DOCKER_BUILDKIT=0 docker build "$@" --build-arg EXTRAS="$EXTRAS" --build-arg VERSION="$version" \
    -t "$TAG" "$context" >"$work/build.log" 2>&1 || fail "docker build: $(tail -n 20 "$work/build.log")"
  docker image inspect "$TAG" --format 'image: {{index .RepoTags 0}} {{.Id}} {{.Size}} bytes'
}

mode=${1:-}
check_engine
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
context=$work/context
make_context
if [[ $mode != --offline ]] && { [[ $mode == --online ]] || registry_answers; }; then
  build --build-arg BASE="$BASE"
else
  [[ $mode == --offline ]] || say "no image registry answers: building from packages"
  make_base
  fetch_wheels
  build --network none --build-arg BASE="$BASE_TAG"
fi
