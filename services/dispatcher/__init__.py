"""The front door: starts runs, and tells how they are.

Hears HTTP requests and commands (queue `dispatcher.commands`); both go through the same use cases. Says `queued` events
and wake-ups through its outbox. Its sweeper ends or wakes runs that nobody moves. Any number of replicas may run.
"""
