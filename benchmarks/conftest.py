"""What `pytest benchmarks` leaves alone: it holds no pytest benchmarks, and needs more packages."""

collect_ignore = ["common", "demo", "topology"]
