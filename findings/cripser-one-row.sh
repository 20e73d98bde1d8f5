#!/bin/sh
# cripser.computePH (the V-construction: pixels are vertices) connects nothing in a 2D image of one
# row or one column. Five pixels in a row come out as five components that never merge; two rows of
# them, or the same row given as a volume [1, 1, 5], as one.
#
# Seen with cripser 0.0.37 and numpy 2.4.6 on Linux x86-64, Python 3.11:
#     (1, 5): 5    (5, 1): 5    (2, 5): 1    (1, 1, 5): 1
# Exits with 0 while that is so, and with 1 when it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check cripser==0.0.37 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import cripser
import numpy as np

print("cripser", cripser.__version__)
found = {}
for shape in ((1, 5), (5, 1), (2, 5), (1, 1, 5)):
    levels = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    rows = cripser.computePH(levels, maxdim=1)
    endless = (rows[:, 0] == 0) & (rows[:, 2] > 1e300)
    found[shape] = int(endless.sum())
    print(shape, "components that never merge:", found[shape])
raise SystemExit(found != {(1, 5): 5, (5, 1): 5, (2, 5): 1, (1, 1, 5): 1})
PYTHON
