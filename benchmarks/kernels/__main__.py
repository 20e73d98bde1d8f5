"""``python -m benchmarks.kernels``; see program.py. The processes that measure import this file."""

import sys

if __name__ == "__main__":
    from benchmarks.kernels.program import main

    sys.exit(main())
