"""The programs around the package: benchmarks, demo, topology, their files, and the docs."""
