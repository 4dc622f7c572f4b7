"""Live progress of runs as Server-Sent Events, from stored facts alone (ADR 0016)."""
