"""`reinstate demo`: real processes and servers, a worker killed in mid-restore, the proof from the target's journal."""
