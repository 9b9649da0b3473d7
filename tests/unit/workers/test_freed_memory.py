import subprocess
import sys

import pytest

NUM_MIB = 200
SCRIPT = f"""
import psutil, torch
from workers.freed_memory import keep_freed_memory

def size():
    return psutil.Process().memory_info().rss

if {{is_kept}}:
    keep_freed_memory()
before = size()
torch.ones({NUM_MIB} << 18)
print((size() - before) >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
@pytest.mark.parametrize("is_kept", [False, True])
def test_a_freed_tensor_stays_with_the_process_only_where_that_is_asked_for(is_kept: bool) -> None:
    script = SCRIPT.format(is_kept=is_kept)
    ended = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    left_mib = int(ended.stdout)
    assert left_mib >= NUM_MIB if is_kept else left_mib < NUM_MIB / 2
