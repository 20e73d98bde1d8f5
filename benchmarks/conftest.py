"""What `pytest benchmarks` leaves alone: the demo holds no benchmarks, and needs more packages."""

collect_ignore = ["demo"]
