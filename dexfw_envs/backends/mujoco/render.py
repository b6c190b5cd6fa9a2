"""Offscreen drawing: loaded on first use, EGL before OSMesa."""

from __future__ import annotations

import os
from typing import Any

import mujoco
import numpy as np
from mujoco.batch import Batch

PLATFORMS = ("egl", "osmesa")
HELP = (
    "offscreen rendering needs EGL or OSMesa, and neither works here. On Debian or Ubuntu install "
    "libegl1 (with a GPU driver or Mesa) or libosmesa6, or set MUJOCO_GL to a working platform. "
    "State observations need no renderer."
)
MAX_GEOMS = 400


def _context(width: int, height: int) -> Any:
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


class Painter:
    """Paints worlds of a batch into the current GL context."""

    def __init__(self, model: mujoco.MjModel, shadows: bool = False) -> None:
        self.context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        self._scene = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = shadows
        self._option, self._camera = mujoco.MjvOption(), mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._names = [model.camera(i).name for i in range(model.ncam)]
        self._model: Any = None
        self._data: Any = None

    def paint(self, batch: Batch, index: int, camera: str, view: mujoco.MjrRect) -> None:
        """Paint world `index` as a named camera sees it."""
        if camera not in self._names:
            raise ValueError(f"unknown camera {camera!r}; choose one of {self._names}")
        self._camera.fixedcamid = self._names.index(camera)
        self._model = batch.get_model(index, self._model)
        self._data = batch.get_data(index, self._data)
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(
            self._model, self._data, self._option, None, self._camera, everything, self._scene
        )
        mujoco.mjr_render(view, self._scene, self.context)


class OffscreenRenderer:
    """Draws worlds of a batch at one size.

    Args:
        model: The shared scene.
        height: Rows [px].
        width: Columns [px].
        shadows: Whether the lamp casts shadows; several times slower.

    Raises:
        RuntimeError: Neither EGL nor OSMesa works.
    """

    def __init__(
        self, model: mujoco.MjModel, height: int, width: int, shadows: bool = False
    ) -> None:
        self.height, self.width = height, width
        self._gl = _context(width, height)
        self._painter = Painter(model, shadows)
        mujoco.mjr_resizeOffscreen(width, height, self._painter.context)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._painter.context)

    def draw(self, batch: Batch, index: int, camera: str) -> np.ndarray:
        """Draw world `index`: uint8 (height, width, 3)."""
        self._gl.make_current()
        view = mujoco.MjrRect(0, 0, self.width, self.height)
        self._painter.paint(batch, index, camera, view)
        image = np.empty((self.height, self.width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(image, None, view, self._painter.context)
        return image[::-1].copy()

    def close(self) -> None:
        """Free the GL context."""
        self._gl.make_current()
        self._painter.context.free()
        self._gl.free()
