"""Turns events of runs into notifications that people read.

Hears `events` (queue `notifier.events`); stores notifications, one per run, status and recipient; says nothing on the
broker. Any number of replicas may run: the same event twice, late or out of order leaves the same rows.
"""
