"""What the demo and the benchmarks share: files, image folders, marks of topological mistakes."""
