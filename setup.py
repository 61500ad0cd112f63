"""The compiled parts; everything else about the distribution is in setup.cfg.

Every `_name.pyx` under ipc/ and aisexec/ becomes a module.  CFLAGS of the environment win over ours.
"""

import os
import shutil
import sysconfig
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FOLDERS = ("ipc", "aisexec")

# By Debian's names.
COMPILER_PACKAGES = "gcc libc6-dev"
PYTHON_PACKAGES = "python3-dev"

C_SOURCES = {
    "ipc._ring": ["ipc/guard.c", "ipc/semaphore.c", "ipc/ring.c", "ipc/ring_files.c"],
}

FLAGS = ["-Wall", "-Wextra", "-Wno-unused-parameter"]  # Cython's functions have them by the dozen


def extension(path: Path) -> Extension:
    name = ".".join(path.with_suffix("").parts)
    optimisation = [] if "-O" in os.environ.get("CFLAGS", "") else ["-O2"]
    return Extension(
        name,
        [path.as_posix(), *C_SOURCES.get(name, [])],
        depends=sorted(header.as_posix() for header in Path("ipc").glob("*.h")),
        include_dirs=["ipc"],
        extra_compile_args=[*optimisation, *FLAGS],
    )


class Build(build_ext):
    def run(self) -> None:
        self.check_needs()
        made = {each.name: each for each in cythonize(self.extensions, include_path=["."])}
        for each in self.extensions:
            each.sources = made[each.name].sources
            each.depends = made[each.name].depends
        super().run()

    def check_needs(self) -> None:
        """Say which package is missing before a compiler, or the lack of one, says something else."""
        missing = []
        compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
        if shutil.which(compiler) is None:
            missing.append((f"a C compiler ({compiler})", COMPILER_PACKAGES))
        include = sysconfig.get_path("include")
        if not os.path.exists(os.path.join(include, "Python.h")):
            missing.append((f"Python's headers ({include}/Python.h)", PYTHON_PACKAGES))
        if missing:
            what = " and ".join(thing for thing, _ in missing)
            packages = " ".join(package for _, package in missing)
            raise SystemExit(
                f"error: aisexec has compiled parts, and to build them {what} is needed."
                f" As root: apt-get install {packages}"
            )


modules = sorted(path for folder in FOLDERS for path in Path(folder).rglob("_*.pyx"))
setup(cmdclass={"build_ext": Build}, ext_modules=[extension(path) for path in modules])
