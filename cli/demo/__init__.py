"""`reinstate demo`: real processes and servers, a worker killed in mid-restore, and the proof from the target's journal."""
