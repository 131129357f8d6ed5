#!/usr/bin/env bash
# Every test on a GPU, and one table of what came: tests/gpu/run.sh [WHEELS] [FOLDER]
#
# WHEELS   a folder of wheels. What the package and its tests need and this machine's Python lacks is installed from it,
#          into an environment that is deleted at the end; PyTorch stays the machine's own. Without it, or with "", the
#          running environment is used as it is.
# FOLDER   where table.txt and the parts' logs go: default $OUT, else ./gpu-results
#
# PYTHON chooses the interpreter (python3), ALIGNEDCUT_GPU_DEVICE the device (cuda), ALIGNEDCUT_GPU_SCALE the size of all
# inputs (1), ALIGNEDCUT_GPU_LIMIT the seconds for everything (470), TMPDIR where 20 GB of inputs are made and deleted.
# To fill WHEELS on a machine with a network: pip wheel --wheel-dir WHEELS . pytest hypothesis, less torch and its parts.
# Exit status: 0 if every part ran and met its targets, 1 if not, 2 if nothing could be run.
set -euo pipefail
wheels=${1:-}
folder=${2:-${OUT:-gpu-results}}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
[ -z "$wheels" ] || wheels=$(cd "$wheels" && pwd)
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$python" -c 'import torch' || { echo "run.sh: $python has no PyTorch: set PYTHON to one that has" >&2; exit 2; }
if [ -n "$wheels" ]; then
    "$python" -m venv --without-pip --system-site-packages "$scratch/env"
    # An environment made from an environment would see the base's packages alone
    "$python" -c 'import sys; print(*(p for p in sys.path if p.endswith("-packages")), sep="\n")' \
        > "$("$scratch/env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/machine.pth"
    python="$scratch/env/bin/python"
    "$python" -c 'import pip' 2> /dev/null || "$python" -m ensurepip > /dev/null
    "$python" -c 'import pathlib, tomllib
needs = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]["dependencies"]
print(*needs, "pytest>=8.3", "hypothesis>=6.112", sep="\n")' > "$scratch/needs.txt"
    # Isolated, as a machine's own constraints may forbid the very PyTorch that it has
    PIP_CONFIG_FILE=/dev/null "$python" -m pip --isolated install --quiet --disable-pip-version-check \
        --no-index --find-links "$wheels" --requirement "$scratch/needs.txt" \
        || { echo "run.sh: $wheels lacks what pip names above" >&2; exit 2; }
fi
"$python" -c 'import pytest, timm, open_clip, numba, safetensors, typer' \
    || { echo "run.sh: the environment lacks that package: give a folder of wheels" >&2; exit 2; }
status=0
TMPDIR="${TMPDIR:-$scratch}" PYTHONDONTWRITEBYTECODE=1 "$python" -m tests.gpu.all "$folder" || status=$?
exit "$status"
