"""The matrix: real client libraries, and nothing but `pinner.installed()` that pins them.

client         Client, Endpoint: what a driver is given and gives
clients/       the drivers; each module's `CLIENTS` are entries of the matrix
test_matrix    client x TLS version x scenario
"""
