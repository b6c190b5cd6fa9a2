"""Rotations and rigid transforms on NumPy arrays of any leading shape.

Quaternions are wxyz. A pose ``(p_ab, q_ab)`` is frame b seen from frame a: it takes coordinates
in b to coordinates in a, ``x_a = q_ab * x_b + p_ab``. Leading axes broadcast everywhere.
Functions that take a quaternion expect it to have unit length unless they say otherwise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Pose = tuple[Array, Array]

# Below this angle [rad] (or half-angle sine) the ratio sin(x)/x is 1 in double precision.
_TINY = 1e-12


def _float(x: ArrayLike) -> Array:
    return np.asarray(x, dtype=np.float64)


def _cross(a: Array, b: Array) -> Array:
    """Cross product (..., 3); about ten times quicker than ``np.cross`` on small batches."""
    ax = a[..., 0]
    ay = a[..., 1]
    az = a[..., 2]
    bx = b[..., 0]
    by = b[..., 1]
    bz = b[..., 2]
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)


def quat_normalize(q: ArrayLike) -> Array:
    """Scale to unit length (..., 4); a zero quaternion becomes the identity."""
    q = _float(q)
    norm = np.linalg.norm(q, axis=-1, keepdims=True)
    identity = np.array([1.0, 0.0, 0.0, 0.0])
    return np.where(norm > _TINY, q / np.where(norm > _TINY, norm, 1.0), identity)


def quat_multiply(a: ArrayLike, b: ArrayLike) -> Array:
    """Rotation b followed by rotation a (..., 4)."""
    a = _float(a)
    b = _float(b)
    aw = a[..., 0]
    ax = a[..., 1]
    ay = a[..., 2]
    az = a[..., 3]
    bw = b[..., 0]
    bx = b[..., 1]
    by = b[..., 2]
    bz = b[..., 3]

    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def quat_conjugate(q: ArrayLike) -> Array:
    """The inverse rotation (..., 4)."""
    return _float(q) * np.array([1.0, -1.0, -1.0, -1.0])


def quat_rotate(q: ArrayLike, v: ArrayLike) -> Array:
    """Rotate vectors v (..., 3) by q (..., 4)."""
    q = _float(q)
    v = _float(v)
    w = q[..., :1]
    axis = q[..., 1:]
    turn = 2.0 * _cross(axis, v)
    return v + w * turn + _cross(axis, turn)


def quat_from_rotvec(r: ArrayLike) -> Array:
    """Quaternion (..., 4) of a rotation vector (..., 3) [rad]."""
    r = _float(r)
    half = 0.5 * np.linalg.norm(r, axis=-1, keepdims=True)
    # np.sinc(x) = sin(pi x) / (pi x), exact at zero.
    return np.concatenate([np.cos(half), 0.5 * np.sinc(half / np.pi) * r], axis=-1)


def rotvec_from_quat(q: ArrayLike) -> Array:
    """Shortest rotation vector (..., 3) [rad], length in [0, pi]; q need not be unit length."""
    q = quat_normalize(q)
    q = np.where(q[..., :1] < 0.0, -q, q)
    sine = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(sine, q[..., :1])
    scale = np.where(sine > _TINY, angle / np.where(sine > _TINY, sine, 1.0), 2.0)
    return scale * q[..., 1:]


def quat_slerp(q0: ArrayLike, q1: ArrayLike, t: ArrayLike) -> Array:
    """Rotate from q0 (t=0) to q1 (t=1) along the shorter way, at constant speed.

    Args:
        q0: start (..., 4).
        q1: end (..., 4).
        t: fraction (...), one axis fewer than the quaternions; broadcasts.
    """
    turn = rotvec_from_quat(quat_multiply(quat_conjugate(q0), q1))
    return quat_multiply(q0, quat_from_rotvec(_float(t)[..., None] * turn))


def quat_from_matrix(matrix: ArrayLike) -> Array:
    """Quaternion (..., 4), w >= 0, of rotation matrices (..., 3, 3)."""
    m = _float(matrix)
    xx = m[..., 0, 0]
    yy = m[..., 1, 1]
    zz = m[..., 2, 2]
    wx = m[..., 2, 1] - m[..., 1, 2]
    wy = m[..., 0, 2] - m[..., 2, 0]
    wz = m[..., 1, 0] - m[..., 0, 1]
    xy = m[..., 0, 1] + m[..., 1, 0]
    xz = m[..., 0, 2] + m[..., 2, 0]
    yz = m[..., 1, 2] + m[..., 2, 1]

    # Each row is 4 * q[row] * q; the one with the largest diagonal loses no precision.
    rows = np.stack(
        [
            np.stack([1.0 + xx + yy + zz, wx, wy, wz], axis=-1),
            np.stack([wx, 1.0 + xx - yy - zz, xy, xz], axis=-1),
            np.stack([wy, xy, 1.0 - xx + yy - zz, yz], axis=-1),
            np.stack([wz, xz, yz, 1.0 - xx - yy + zz], axis=-1),
        ],
        axis=-2,
    )
    best = np.argmax(np.diagonal(rows, axis1=-2, axis2=-1), axis=-1)
    q = np.take_along_axis(rows, best[..., None, None], axis=-2)[..., 0, :]
    q = quat_normalize(q)

    return np.where(q[..., :1] < 0.0, -q, q)


def matrix_from_quat(q: ArrayLike) -> Array:
    """Rotation matrices (..., 3, 3)."""
    q = _float(q)
    w = q[..., 0]
    x = q[..., 1]
    y = q[..., 2]
    z = q[..., 3]
    entries = [
        1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y),
        2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x),
        2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y),
    ]  # fmt: skip
    return np.stack(entries, axis=-1).reshape(*q.shape[:-1], 3, 3)


def quat_from_yaw(yaw: ArrayLike) -> Array:
    """Rotation (..., 4) about the upward axis by yaw (...) [rad]."""
    half = 0.5 * _float(yaw)
    zero = np.zeros_like(half)
    return np.stack([np.cos(half), zero, zero, np.sin(half)], axis=-1)


def yaw_from_quat(q: ArrayLike) -> Array:
    """The turn about the upward axis (...) [rad] in (-pi, pi] nearest to rotation q (..., 4).

    This is the twist of the swing-twist split: for any tilt it is the yaw which leaves the
    smallest remaining rotation. A half turn about a level axis has none and gives 0.
    """
    q = _float(q)
    sign = np.where(q[..., 0] < 0.0, -1.0, 1.0)
    w = sign * q[..., 0]
    z = sign * q[..., 3]
    return np.where(np.hypot(w, z) > _TINY, 2.0 * np.arctan2(z, w), 0.0)


def compose(p_ab: ArrayLike, q_ab: ArrayLike, p_bc: ArrayLike, q_bc: ArrayLike) -> Pose:
    """Chain frames a->b and b->c; returns ``(p_ac (..., 3), q_ac (..., 4))``."""
    return _float(p_ab) + quat_rotate(q_ab, p_bc), quat_multiply(q_ab, q_bc)


def invert(p: ArrayLike, q: ArrayLike) -> Pose:
    """``(p_ba, q_ba)`` of ``(p_ab, q_ab)``."""
    back = quat_conjugate(q)
    return -quat_rotate(back, p), back


def relative(p_wa: ArrayLike, q_wa: ArrayLike, p_wb: ArrayLike, q_wb: ArrayLike) -> Pose:
    """Frame b seen from frame a, both given in w; returns ``(p_ab, q_ab)``."""
    back = quat_conjugate(q_wa)
    return quat_rotate(back, _float(p_wb) - _float(p_wa)), quat_multiply(back, q_wb)
