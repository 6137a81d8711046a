#!/usr/bin/env bash
# Builds the extension with the address and undefined-behaviour sanitizers, and runs its tests: any finding ends them.
#
# Example, in an environment with dfx[cpu,dev]:
#     bash tests/endurance/sanitize.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip install --quiet --no-deps --target "$work/site" . \
  --config-settings=cmake.define.DFX_SANITIZE=ON --config-settings=build-dir="$work/build"
cp -r tests pyproject.toml "$work"  # away from the checkout, whose own package would be imported
cd "$work"
export PYTHONPATH="$work/site" PYTHONMALLOC=malloc
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1  # the interpreter never frees all
export LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
python - <<'END'
import sys

sys.meta_path[:] = [f for f in sys.meta_path if "Redirecting" not in type(f).__name__]  # of an editable install
import dfx._kernels
import pytest

assert dfx._kernels.__file__.startswith(sys.path[1]), f"{dfx._kernels.__file__} is not the build with sanitizers"
tests = [f"tests/test_{name}.py" for name in ("ops", "geometry", "cuda_kernels", "gpu_kernels", "unmix")]
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-k", "not compile", *tests]))
END
