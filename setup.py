"""The compiled parts; everything else about the distribution is in setup.cfg."""

from Cython.Build import cythonize
from setuptools import Extension, setup

setup(
    ext_modules=cythonize(
        [
            Extension(
                "ipc._ring",
                ["ipc/_ring.pyx", "ipc/guard.c", "ipc/semaphore.c", "ipc/ring.c", "ipc/ring_files.c"],
                depends=["ipc/guard.h", "ipc/ring.h", "ipc/ring_internal.h"],
                include_dirs=["ipc"],
                extra_compile_args=["-O2", "-Wall", "-Wextra"],
            )
        ]
    )
)
