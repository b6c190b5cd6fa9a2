"""Offscreen drawing: loaded on first use."""

from __future__ import annotations

import platform
import threading
from functools import partial
from typing import Any

import mujoco
import numpy as np
from mujoco.batch import Batch

from dexfw_envs.backends.mujoco.graphics import Context, apart, keep_for_ever

MAX_GEOMS = 400


class Painter:
    """Paints worlds of a batch into the current GL context."""

    def __init__(self, model: mujoco.MjModel, shadows: bool = False) -> None:
        self.context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        self._scene = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = shadows
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
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
    """Draws worlds of a batch at one size, in whichever thread asks.

    Args:
        model: The shared scene.
        height: Rows [px].
        width: Columns [px].
        shadows: Whether the lamp casts shadows; several times slower.

    Raises:
        RuntimeError: Nothing can draw here; the message names what was tried.
    """

    def __init__(
        self, model: mujoco.MjModel, height: int, width: int, shadows: bool = False
    ) -> None:
        self.height = height
        self.width = width
        self._model = model
        self._shadows = shadows
        self._lock = threading.Lock()
        try:
            self._open()
        except RuntimeError:
            if platform.system() != "Linux":  # elsewhere windows belong to the main thread
                raise
            apart(self._open)

    def _open(self) -> None:
        self._context = Context(self.width, self.height)
        self._context.enter()
        self._painter = Painter(self._model, self._shadows)
        mujoco.mjr_resizeOffscreen(self.width, self.height, self._painter.context)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._painter.context)
        self._context.leave()

    def draw(self, batch: Batch, index: int, camera: str) -> np.ndarray:
        """Draw world `index`: uint8 (height, width, 3)."""
        with self._lock:
            if self._enter():
                return self._picture(batch, index, camera)
            return apart(partial(self._draw_apart, batch, index, camera))

    def _enter(self) -> bool:
        """Enter the context; False if that fails, in which way ever the platform does."""
        try:
            self._context.enter()
        except Exception:
            return False
        return True

    def _draw_apart(self, batch: Batch, index: int, camera: str) -> np.ndarray:
        """Draw in a thread that has no other context, in a new one if the old is destroyed.

        SDL destroys all EGL contexts of the process when it closes a window without a display.
        """
        if not self._enter():
            self._forget()
            self._open()
            self._context.enter()
        return self._picture(batch, index, camera)

    def _picture(self, batch: Batch, index: int, camera: str) -> np.ndarray:
        """Draw in the context that was entered, and leave it."""
        view = mujoco.MjrRect(0, 0, self.width, self.height)
        image = np.empty((self.height, self.width, 3), dtype=np.uint8)
        try:
            self._painter.paint(batch, index, camera, view)
            mujoco.mjr_readPixels(image, None, view, self._painter.context)
        finally:
            self._context.leave()
        return image[::-1].copy()

    def _forget(self) -> None:
        keep_for_ever(self._painter)
        self._context.forget()

    def close(self) -> None:
        """Free the GL context; the renderer cannot draw any more."""
        with self._lock:
            if self._enter():
                self._free()
            else:
                apart(self._close_apart)

    def _close_apart(self) -> None:
        if self._enter():
            self._free()
        else:
            self._forget()

    def _free(self) -> None:
        self._painter.context.free()
        self._context.free()
