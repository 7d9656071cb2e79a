# Shared by the scripts in this folder, which source it. Owns how a step is shown and where builds go.
# Never installs, builds or starts anything.
# shellcheck shell=bash

CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/pointsman"
VENV="$CACHE/venv"
# Outside the clone, so that a second clone and the next run find what is already built.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$CACHE/target}"

# step NAME COMMAND...: runs the command between a line with its name and one with its duration.
step() {
    local name="$1" began="$SECONDS"
    shift
    printf '\n== %s\n' "$name"
    "$@"
    printf '== %s: done in %s s\n' "$name" "$((SECONDS - began))"
}

# fail TEXT...: says why and ends the script.
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}
