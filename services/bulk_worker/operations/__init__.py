"""One module for each bulk operation, as a `shared.engine.work.Work`."""
