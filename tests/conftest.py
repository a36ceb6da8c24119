"""What holds for every test, however the run was started."""

import signal


def pytest_configure() -> None:
    """A shell that starts the tests in the background has them ignore Ctrl-C, and every process they start; here it counts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
