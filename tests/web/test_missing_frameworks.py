"""The modules for web frameworks without their framework."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.real_time
@pytest.mark.parametrize("framework", ["aiohttp", "django", "fastapi", "litestar"])
def test_without_its_framework_a_module_names_the_package_to_install(framework: str) -> None:
    program = f"import sys; sys.modules[{framework!r}] = None; import aioflags.{framework}"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.stderr.endswith(f"ModuleNotFoundError: aioflags.{framework} needs {framework}: pip install {framework}\n")
