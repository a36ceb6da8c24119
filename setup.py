"""What pyproject.toml cannot say: the example that `syncline demo` runs goes into the wheel, below the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

EXAMPLE = Path("examples/shop")


class BuildWithExample(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # a checkout has it where it lies
            place = Path(self.build_lib) / "syncline" / EXAMPLE
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(EXAMPLE, place, ignore=shutil.ignore_patterns("__pycache__", "*.db*"))


setup(cmdclass={"build_py": BuildWithExample})
