"""People who sign in with an issuer of their own (OpenID Connect, ADR 0025).

Decides whether an access token is good, and whom of ours it means. Hears from the issuer its keys, and nothing else.
"""
