"""What Triton's compiler reads, and nothing else."""
