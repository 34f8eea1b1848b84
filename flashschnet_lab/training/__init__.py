"""Training: prior tables from structures, sampling with the teacher, force matching."""
