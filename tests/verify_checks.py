"""How the tests of `verify` call a check and read what it says."""

import pytest

from genflow_lite import verify


def line(capsys):
    (text,) = capsys.readouterr().out.splitlines()
    return text


def fails(match, check, *args, **kwargs):
    with pytest.raises(verify.CheckFailed, match=match) as caught:
        check(*args, **kwargs)
    return caught.value.result


def close(claim, truth, rejects, rtol=1e-9, **kwargs):
    verify.close("eq-a", claim, truth, rtol=rtol, rejects=rejects, **kwargs)


class constant:
    """A function of no argument, each one a function of its own."""

    def __init__(self, value):
        self.value = value

    def __call__(self):
        return self.value
