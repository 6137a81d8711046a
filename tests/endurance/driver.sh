#!/usr/bin/env bash
# Runs the GPU tests of the kernels on a driver that is pretended, built against NVIDIA's cuda.h: a wrong signature,
# a call outside of a context or memory freed twice ends them. Needs neither a GPU nor a toolkit.
#
# Example, in an environment with dfx[cpu,dev]:
#     bash tests/endurance/driver.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip install --quiet --no-deps --target "$work/cuda" nvidia-cuda-runtime-cu12==12.9.79
g++ -std=c++17 -O2 -ffp-contract=off -shared -fPIC -I"$work/cuda/nvidia/cuda_runtime/include" -Icpp_ext \
  tests/endurance/driver.cpp -o "$work/libcuda.so.1"
export XDG_CACHE_HOME="$work/cache" DFX_REQUIRE_GPU=1
# NVRTC asks the driver for more than is pretended, so the kernels are compiled before it is there.
python -P -c 'from dfx.ops import compiler; compiler.cached("sm_90")'
LD_LIBRARY_PATH="$work" pytest -q -p no:cacheprovider tests/test_gpu_kernels.py
DFX_NO_POOLS=1 LD_LIBRARY_PATH="$work" pytest -q -p no:cacheprovider tests/test_gpu_kernels.py
