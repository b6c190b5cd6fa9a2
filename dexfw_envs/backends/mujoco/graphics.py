"""GL contexts to draw in without a window, on any platform of MuJoCo and from any thread."""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")

# What is tried without a choice by MUJOCO_GL, in this order.
PLATFORMS = {"Linux": ("egl", "osmesa"), "Darwin": ("cgl", "glfw"), "Windows": ("glfw",)}
# MUJOCO_GL: the module of MuJoCo that it means. "" and the switches leave the choice to us.
CHOICES = {
    "egl": "egl",
    "osmesa": "osmesa",
    "cgl": "cgl",
    "glfw": "glfw",
    "glx": "glfw",
    "wgl": "glfw",
}
SWITCHED_OFF = ("disable", "disabled", "off", "false", "0")
HELP = (
    "offscreen rendering needs EGL or OSMesa (on macOS CGL), and none works here. On Debian or "
    "Ubuntu install libegl1 (with a GPU driver or Mesa) or libosmesa6, or set MUJOCO_GL to a "
    "working platform. State observations need no renderer."
)

_process_that_draws: int | None = None


class Context:
    """A GL context; whoever draws enters and leaves it, so any thread may be the next.

    Args:
        width: Largest width of a picture [px].
        height: Largest height [px].

    Raises:
        RuntimeError: Nothing can draw here; the message names what was tried.
    """

    def __init__(self, width: int, height: int) -> None:
        self.platform, self._module, self._gl = _open(width, height)

    def enter(self) -> None:
        """Make the context that of the calling thread; raises whatever the platform raises."""
        _make_current(self._gl, self.platform)

    def leave(self) -> None:
        """Leave the calling thread without a context."""
        _release(self._module, self._gl, self.platform)

    def free(self) -> None:
        """Free the context, which the calling thread has entered."""
        self._gl.free()

    def forget(self) -> None:
        """Give up a context that somebody else destroyed; nothing of it can be freed any more."""
        self._gl._context = None
        if self.platform == "egl":
            self._module.EGL_DISPLAY = None  # initialised again by the next context


def load_mujoco() -> None:
    """Import MuJoCo, which reads MUJOCO_GL on import and fails where it cannot have that.

    Raises:
        RuntimeError: It does; names the value, what happened, and what to do.
    """
    try:
        import mujoco  # noqa: F401
    except Exception as error:  # each platform fails in its own way
        chosen = os.environ.get("MUJOCO_GL", "")
        if not chosen:
            raise
        raise RuntimeError(f"{_advice(chosen)} ({_in_one_line(error)})") from error


def keep_for_ever(value: Any) -> None:
    """Let a value never be destroyed, where its destruction would crash or wait for ever."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))


def apart(work: Callable[[], Result]) -> Result:
    """Do work in a thread of its own and return its result.

    A thread that has a context of GLX, as that of a window of SDL (pygame), can have none of EGL
    beside it; a new thread has none.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(work).result()


def _open(width: int, height: int) -> tuple[str, Any, Any]:
    """Create a context on the platform the user chose, else on the first that works."""
    global _process_that_draws
    if _process_that_draws not in (None, os.getpid()):
        raise RuntimeError(
            "pictures were drawn before this process was forked, and graphics do not survive a "
            "fork: draw in the child alone, or start it by multiprocessing's 'spawn'"
        )

    chosen = os.environ.get("MUJOCO_GL", "").lower().strip()
    if chosen in SWITCHED_OFF:
        raise RuntimeError(f"drawing is switched off by MUJOCO_GL={chosen!r}; unset it to draw")
    failures = []
    for name in (CHOICES[chosen],) if chosen in CHOICES else _usual():
        try:
            module, context = _context_of(name, width, height)
        except Exception as error:  # each platform fails in its own way
            failures.append(f"{name}: {_in_one_line(error)}")
            os.environ.pop("PYOPENGL_PLATFORM", None)
        else:
            _process_that_draws = os.getpid()
            return name, module, context
    advice = _advice(chosen) if chosen in CHOICES else HELP
    raise RuntimeError(f"{advice} ({'; '.join(failures)})")


def _usual() -> tuple[str, ...]:
    return PLATFORMS.get(platform.system(), PLATFORMS["Linux"])


def _advice(chosen: str) -> str:
    others = " or ".join(repr(name) for name in _usual() if name != chosen)
    return f"MUJOCO_GL={chosen!r} does not work here; unset it, or set it to {others}"


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _context_of(name: str, width: int, height: int) -> tuple[Any, Any]:
    module = importlib.import_module(f"mujoco.{name}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # GLFW warns of what the error below says
        context = module.GLContext(width, height)
        _make_current(context, name)
    _release(module, context, name)
    return module, context


def _make_current(context: Any, name: str) -> None:
    context.make_current()
    if name == "glfw":
        import glfw

        if not glfw.get_current_context():
            raise RuntimeError("no window can be opened: there is no display")


def _release(module: Any, context: Any, name: str) -> None:
    """Leave the calling thread without a context, so that another thread can take it."""
    if name == "egl":
        egl = module.EGL
        nothing = egl.EGL_NO_SURFACE
        egl.eglMakeCurrent(module.EGL_DISPLAY, nothing, nothing, egl.EGL_NO_CONTEXT)
    elif name == "osmesa":
        module.osmesa.OSMesaMakeCurrent(None, None, module.GL.GL_FLOAT, 0, 0)
    elif name == "cgl":
        module.cgl.CGLUnlockContext(context._context)  # locked by `make_current`
        module.cgl.CGLSetCurrentContext(None)
    else:
        module.glfw.make_context_current(None)
