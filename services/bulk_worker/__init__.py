"""Works bulk operations: lists and captures a tenant's policies, groups captures into backup sets, exports archives.

Hears wake-ups (queues `bulk.interactive` and `bulk.background`); never writes to a tenant's system; says what happened
through the outbox. Any number of replicas may run.
"""
