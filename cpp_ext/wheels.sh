#!/usr/bin/env bash
# Builds the source archive and from it a wheel for Python 3.11 and one, by the stable ABI, for 3.12 and later; installs
# each in an environment of its own and scores the sample clips there. Needs a C++17 compiler and both Pythons.
#
#     cpp_ext/wheels.sh [FOLDER]                          # dist, unless told
#     PYTHONS="/opt/py311/bin/python python3.12" cpp_ext/wheels.sh
#
# Wheels for other systems: `pipx run cibuildwheel`, by the settings in pyproject.toml.
set -euo pipefail
out=$(realpath -m "${1:-dist}")
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
read -ra pythons <<<"${PYTHONS:-python3.11 python3.12}"
mkdir -p "$out"

try() { # PYTHON WHEEL: install and run where the checkout cannot be imported
    "$1" -m venv "$work/try"
    "$work/try/bin/pip" install --quiet "$2[cpu]"
    (cd "$work" && "$work/try/bin/dfx" demo)
    rm -rf "$work/try"
}

"${pythons[0]}" -m venv "$work/build"
"$work/build/bin/pip" install --quiet build
"$work/build/bin/python" -m build --sdist --outdir "$work" . >/dev/null
for python in "${pythons[@]}"; do
    "$python" -m pip wheel --quiet --no-deps --wheel-dir "$work/wheel" "$work"/dfx-*.tar.gz
    wheel=$(ls "$work"/wheel/dfx-*.whl)
    printf '\n%s: %s\n' "$("$python" --version)" "${wheel##*/}"
    try "$python" "$wheel"
    mv "$wheel" "$out"
done
if command -v python3.13 >/dev/null && python3.13 --version && [[ $wheel == *-abi3-* ]]; then
    try python3.13 "$out/${wheel##*/}"
fi
mv "$work"/dfx-*.tar.gz "$out"
ls -l "$out"
