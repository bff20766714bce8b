"""What the tests of the command line share."""

import pytest

from wandbsweep.cli.main import main


@pytest.fixture
def run_command(capsys):
    """Run a command and return what it prints: its output, or the message on standard error if there is none."""

    def run_command(*arguments, status=0):
        assert main([str(argument) for argument in arguments]) == status
        captured = capsys.readouterr()
        return captured.out or captured.err

    return run_command
