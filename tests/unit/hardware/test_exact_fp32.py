"""TF32 is off within, whichever of torch's two interfaces the host used, and the host's setting is back afterwards."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dawn_model.hardware.exact_fp32 import exact_fp32

CHECK = '''
import importlib.util, os, sys, torch

b = torch.backends
spec = importlib.util.spec_from_file_location("exact", sys.argv[1])
exact = importlib.util.module_from_spec(spec)
spec.loader.exec_module(exact)
HOSTS = """
pass
b.cuda.matmul.allow_tf32 = b.cudnn.allow_tf32 = True
b.cuda.matmul.allow_tf32 = b.cudnn.allow_tf32 = False
torch.set_float32_matmul_precision("high")
b.cuda.matmul.fp32_precision = b.cudnn.conv.fp32_precision = "tf32"
b.cuda.matmul.fp32_precision = b.cudnn.conv.fp32_precision = "ieee"
b.fp32_precision = "tf32"
"""
SWITCHES = {
    "matmul": lambda: b.cuda.matmul.allow_tf32, "cudnn": lambda: b.cudnn.allow_tf32,
    "new matmul": lambda: b.cuda.matmul.fp32_precision, "new conv": lambda: b.cudnn.conv.fp32_precision,
    "new rnn": lambda: b.cudnn.rnn.fp32_precision, "all": lambda: b.fp32_precision,
    "precision": torch.get_float32_matmul_precision,
}

def state():
    found = {}
    for name, read in SWITCHES.items():
        try:
            found[name] = read()
        except RuntimeError:
            found[name] = "can not be read"
    return found

def check(host):
    exec(host)
    before = state()
    try:
        with exact.exact_fp32():
            within = state()
            raise KeyError
    except KeyError:
        pass
    assert "tf32" not in [within[name] for name in ("new matmul", "new conv", "new rnn")], within
    assert within["matmul"] is not True and within["cudnn"] is not True, within
    assert state() == before, (before, state())
    with exact.exact_fp32(False):
        assert state() == before

for host in HOSTS.strip().splitlines():
    child = os.fork()
    if child == 0:
        check(host)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(host)
'''


@pytest.mark.skipif(
    not hasattr(torch.backends.cudnn, "conv"), reason="this torch has the older interface alone"
)
def test_off_within_and_as_before_afterwards():
    """In processes of their own: torch can not go back to never having been told by the newer interface."""
    file = Path(sys.modules[exact_fp32.__module__].__file__)
    done = subprocess.run([sys.executable, "-c", CHECK, file], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_torch_with_the_older_interface_alone(monkeypatch):
    class Backend:
        allow_tf32 = True

    class Backends:
        cudnn = Backend()

        class cuda:
            matmul = Backend()

    monkeypatch.setattr(torch, "backends", Backends)
    with pytest.raises(KeyError), exact_fp32():
        assert not Backends.cudnn.allow_tf32 and not Backends.cuda.matmul.allow_tf32
        raise KeyError
    assert Backends.cudnn.allow_tf32 and Backends.cuda.matmul.allow_tf32
