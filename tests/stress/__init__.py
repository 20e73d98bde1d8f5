"""What nonsense, many threads, large sizes and long runs do; and the programs that run for long."""
