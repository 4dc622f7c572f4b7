"""Microsoft Graph as a tenant's system: a reader that can only read, a writer that extends it, one token source."""
