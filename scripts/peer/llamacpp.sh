#!/usr/bin/env bash
# Builds llama.cpp for this very machine, from the source package of llama-cpp-python, and prints the folder it lies in:
# build/bin with its programs and its shared library, venv with a Python for its bindings.
# What is there already is used. About five minutes on two cores.
set -euo pipefail

VERSION=0.3.36
HOME_OF_PEERS="${ROUTERGYM_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/routergym-local-peers}"
PLACE="$HOME_OF_PEERS/llama-cpp-python-$VERSION"
# ggml's AMX code ends with a protection fault on virtual machines that show AMX (seen with Q4_1 and Q4_K files on a
# Sapphire Rapids guest), so it is left out; everything else is what -march=native finds.
NO_AMX=""
if grep -qs amx_tile /proc/cpuinfo; then NO_AMX="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"; fi

if [[ ! -e "$PLACE/ready" ]]; then
  {
    command -v c++ >/dev/null || { apt-get update -qq && apt-get install -y -qq build-essential; }
    python3 -c "import ensurepip" 2>/dev/null || { apt-get update -qq && apt-get install -y -qq python3-venv; }
    mkdir -p "$PLACE"
    python3 -m venv "$PLACE/venv"
    "$PLACE/venv/bin/pip" install -q cmake==4.1.2 ninja==1.13.0 numpy jinja2 diskcache typing_extensions
    export PATH="$PLACE/venv/bin:$PATH"
    "$PLACE/venv/bin/pip" download -q --no-deps --no-binary llama-cpp-python -d "$PLACE" "llama-cpp-python==$VERSION"
    tar -xzf "$PLACE"/llama_cpp_python-$VERSION.tar.gz -C "$PLACE"
    SOURCE="$PLACE/llama_cpp_python-$VERSION"
    cmake -S "$SOURCE/vendor/llama.cpp" -B "$PLACE/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
      -DCMAKE_C_FLAGS="$NO_AMX" -DCMAKE_CXX_FLAGS="$NO_AMX" -DBUILD_SHARED_LIBS=ON -DLLAMA_BUILD_TESTS=OFF \
      -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF
    ninja -C "$PLACE/build" llama llama-bench llama-batched-bench llama-quantize
    ln -sfn "$SOURCE/llama_cpp" "$PLACE/bindings"
    touch "$PLACE/ready"
  } >&2
fi
echo "$PLACE"
