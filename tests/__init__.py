"""The tests: a folder for each of the server's, contract suites for its interfaces, acceptance on real sockets."""
