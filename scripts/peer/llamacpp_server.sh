#!/usr/bin/env bash
# Builds llama.cpp's own server beside what llamacpp.sh builds, without its web page, and prints the same folder. A few minutes
# more on two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

PLACE="$(scripts/peer/llamacpp.sh)"
if [[ ! -e "$PLACE/server-ready" ]]; then
  {
    export PATH="$PLACE/venv/bin:$PATH"
    cmake -S "$PLACE"/llama_cpp_python-*/vendor/llama.cpp -B "$PLACE/build" -G Ninja \
      -DLLAMA_BUILD_SERVER=ON -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF
    ninja -C "$PLACE/build" llama-server
    touch "$PLACE/server-ready"
  } >&2
fi
echo "$PLACE"
