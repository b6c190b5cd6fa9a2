"""The window of `render_mode="human"`: the first world of a batch, no faster than real time."""

from __future__ import annotations

import sys
import time
import warnings
from typing import Any

import glfw
import mujoco
from mujoco.batch import Batch

from dexfw_envs.backends.mujoco.render import Painter

HELP = (
    "render_mode='human' opens a window and needs a display, and there is none here. "
    "Use render_mode='rgb_array' instead, or run under xvfb-run."
)
SIZE = (960, 720)  # width and height [px]


class Window:
    """Shows the first world of a batch; closing the window by hand is no error.

    Args:
        model: The shared scene.
        period: Least time between two pictures [s].

    Raises:
        RuntimeError: There is no display.
    """

    def __init__(self, model: mujoco.MjModel, period: float) -> None:
        self._window: Any = _open()
        self._painter = Painter(model)
        self._period = period
        self._next = 0.0

    def show(self, batch: Batch, camera: str) -> None:
        """Draw the world as a named camera sees it now."""
        if self._window is None or glfw.window_should_close(self._window):
            return
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next = time.monotonic() + self._period
        glfw.make_context_current(self._window)
        view = mujoco.MjrRect(0, 0, *glfw.get_framebuffer_size(self._window))
        self._painter.paint(batch, 0, camera, view)
        glfw.swap_buffers(self._window)
        glfw.poll_events()

    def close(self) -> None:
        """Close the window; again is no error."""
        if self._window is not None:
            glfw.make_context_current(self._window)
            self._painter.context.free()
            glfw.destroy_window(self._window)
            self._window = None


def _open() -> Any:
    window = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", glfw.GLFWError)  # said once, by the error below
        if glfw.init():
            if sys.platform == "linux":  # the kind of context that offscreen images tolerate
                glfw.window_hint(glfw.CONTEXT_CREATION_API, glfw.EGL_CONTEXT_API)
            window = glfw.create_window(*SIZE, "DexFW", None, None)
    if not window:
        raise RuntimeError(HELP)
    glfw.make_context_current(window)
    glfw.swap_interval(0)
    return window
