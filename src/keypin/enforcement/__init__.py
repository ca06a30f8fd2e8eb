"""How pins are enforced on the connections of Python's ssl. Programs use `Pinner`."""
