"""A deterministic Microsoft Graph with several tenants, faults on demand and its own write journal.

It is the judge of every proof, so it shares no code with the project it judges: nothing here imports `shared`.
"""
