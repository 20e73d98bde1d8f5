"""The C++ kernels of the CPU under AddressSanitizer and UBSan: ``python -m tests.stress.sanitize``.

build.py      `_C` and a canary, compiled with sanitizers into a directory of their own
__main__.py   the canary first, which must be caught; then the suite on the sanitized kernels
canary.cpp    the mistakes that must be caught
"""
