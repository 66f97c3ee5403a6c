"""One file a capability; each operator only turns the context into a call of a plain function."""
