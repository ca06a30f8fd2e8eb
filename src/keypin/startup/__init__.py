"""How pins pass to the interpreters that a pinned program starts."""
