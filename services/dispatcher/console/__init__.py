"""The console: pages for people, rendered here, over the same use cases as the HTTP API (ADR 0033).

Signed in by a cookie, which no route of the API looks at; the API's tokens mean nothing here.
"""
