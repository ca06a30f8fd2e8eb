"""What several packages of keypin use, and nobody else."""
