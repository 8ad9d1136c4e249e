"""Floor 4: Prefect flows, schedules and the command line. Ordering and retries, no data work."""
