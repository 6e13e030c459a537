"""A command line run in this process."""

import sys

import pytest

from edgewright import cli


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a command line in this process; gives (exit code, stdout, stderr)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["edgewright", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out = capsys.readouterr()
        return ended.value.code or 0, out.out, out.err

    return run
