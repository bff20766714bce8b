"""Decides at import, as keras, dm_control and jax do. It is slow, as they are."""

import os
import time

BACKEND = os.environ.get("DEMO_BACKEND", "default")
time.sleep(float(os.environ.get("IMPORT_S", "0")))


def get_backend() -> str:
    return BACKEND
