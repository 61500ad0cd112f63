"""corosync-vqsim decides about quorum as we do, over random scripts.

A few run always; AISEXEC_VQSIM=600 runs so many (seeds 0 to 599), AISEXEC_VQSIM_SEED=N just that one.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.quorum.judge import disagreement
from tests.quorum.scripts import FEATURES, make_script
from tests.quorum.vqsim import PROGRAM

SCRIPTS = int(os.environ.get("AISEXEC_VQSIM", "24"))
AT_ONCE = 12
"""vqsim mostly waits."""


def seeds() -> list[int]:
    """Of the scripts to run."""
    if one := os.environ.get("AISEXEC_VQSIM_SEED"):
        return [int(one)]
    return list(range(SCRIPTS))


@pytest.mark.skipif(shutil.which(PROGRAM) is None, reason="needs package corosync-vqsim")
@pytest.mark.timeout(60 + 2 * SCRIPTS)
def test_same_decisions(tmp_path: Path) -> None:
    def judge(seed: int) -> str:
        directory = tmp_path / str(seed)
        directory.mkdir()
        return disagreement(make_script(seed), directory)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        differences = [text for text in pool.map(judge, seeds()) if text]
    assert not differences, "\n\n".join(differences)


def test_every_feature_is_among_the_scripts() -> None:
    assert {make_script(seed).feature for seed in range(24)} == set(FEATURES)
