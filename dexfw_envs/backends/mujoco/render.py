"""Offscreen drawing: created on first use, EGL before OSMesa."""

from __future__ import annotations

import os

import mujoco
import numpy as np
from mujoco.batch import Batch

PLATFORMS = ("egl", "osmesa")
HELP = (
    "offscreen rendering needs EGL or OSMesa, and neither works here. On Debian or Ubuntu install "
    "libegl1 (with a GPU driver or Mesa) or libosmesa6, or set MUJOCO_GL to a working platform. "
    "State observations need no renderer."
)


def _context(width: int, height: int) -> object:
    """Create a GL context on the platform the user chose, else on the first that works."""
    chosen = os.environ.get("MUJOCO_GL", "").lower()
    failures = []
    for platform in (chosen,) if chosen else PLATFORMS:
        try:
            if platform == "egl":
                from mujoco.egl import GLContext
            elif platform == "osmesa":
                from mujoco.osmesa import GLContext
            else:
                from mujoco.gl_context import GLContext
            context = GLContext(width, height)
            context.make_current()
            return context
        except Exception as error:  # each platform fails in its own way
            failures.append(f"{platform}: {type(error).__name__}: {error}")
            os.environ.pop("PYOPENGL_PLATFORM", None)
    raise RuntimeError(f"{HELP} ({'; '.join(failures)})")


class OffscreenRenderer:
    """Draws worlds of a batch at one size.

    Args:
        model: The shared scene.
        height: Rows [px].
        width: Columns [px].
    """

    def __init__(self, model: mujoco.MjModel, height: int, width: int) -> None:
        self.height, self.width = height, width
        self._gl = _context(width, height)
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_resizeOffscreen(width, height, self._context)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=400)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
        self._option, self._camera = mujoco.MjvOption(), mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._model, self._data = None, None

    def draw(self, batch: Batch, index: int, camera: str) -> np.ndarray:
        """Draw world `index`: uint8 (height, width, 3)."""
        self._gl.make_current()  # type: ignore[attr-defined]
        self._model = batch.get_model(index, self._model)
        self._data = batch.get_data(index, self._data)
        names = [self._model.camera(i).name for i in range(self._model.ncam)]
        if camera not in names:
            raise ValueError(f"unknown camera {camera!r}; choose one of {names}")
        self._camera.fixedcamid = names.index(camera)
        mujoco.mjv_updateScene(
            self._model,
            self._data,
            self._option,
            None,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )
        view = mujoco.MjrRect(0, 0, self.width, self.height)
        mujoco.mjr_render(view, self._scene, self._context)
        image = np.empty((self.height, self.width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(image, None, view, self._context)
        return image[::-1].copy()

    def close(self) -> None:
        """Free the GL context."""
        self._context.free()
        self._gl.free()  # type: ignore[attr-defined]
