"""How a stage runs as a job."""
