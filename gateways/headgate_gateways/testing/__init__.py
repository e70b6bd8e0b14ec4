"""What proves that an enforcement point enforces: suites that each of them passes, and the providers they need."""
