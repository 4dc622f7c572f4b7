"""Calls to systems that are not ours: how much of an answer is read, and which addresses may be called at all."""
