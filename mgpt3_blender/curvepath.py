"""A curve object as a path on the floor: points in world space, evenly spaced along it or along its time."""

from __future__ import annotations

import bpy
import numpy as np

from . import action as actions
from .errors import UserError

STEPS = 24
"""Points for each segment of a curved spline."""


def curve_points(curve: bpy.types.Object) -> np.ndarray:
    """(N, 3) world positions along a curve object's first spline, as it is drawn; a cyclic one ends where it begins.

    Raises UserError("no_path").
    """
    if curve is None or curve.type != "CURVE":
        raise UserError("no_path", "The path is no curve.", "Choose a curve object.")
    # A copy without thickness: what is left of it is the line itself, in the spline's direction.
    data = curve.data.copy()
    shown = bpy.data.objects.new("Path", data)
    try:
        data.bevel_depth = data.extrude = data.offset = 0.0
        data.bevel_object = data.taper_object = None
        data.bevel_factor_start, data.bevel_factor_end = 0.0, 1.0
        data.fill_mode = "FULL" if data.dimensions == "3D" else "NONE"
        for spline in list(data.splines)[1:]:
            data.splines.remove(spline)
        for spline in data.splines:
            spline.resolution_u = max(spline.resolution_u, STEPS)
        closed = bool(data.splines) and data.splines[0].use_cyclic_u
        mesh = shown.to_mesh()
        points = np.zeros((len(mesh.vertices), 3), np.float32)
        mesh.vertices.foreach_get("co", points.ravel())
        shown.to_mesh_clear()
    finally:
        bpy.data.objects.remove(shown)
        bpy.data.curves.remove(data)
    if len(points) < 2 or not np.isfinite(points).all() or np.ptp(points, axis=0).max() <= 0.0:
        raise UserError("no_path", f'The curve "{curve.name}" has no length.', "Draw it, or choose another one.")
    if closed:
        points = np.concatenate([points, points[:1]])
    matrix = np.array(curve.matrix_world)
    return points.astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def timed_points(curve: bpy.types.Object, frames: np.ndarray) -> np.ndarray:
    """(N, 3) world positions on a curve at scene frames (N,), by its animated evaluation time.

    Where the evaluation time has no keys, the way is gone evenly from the first frame to the last. Raises
    UserError("no_path").
    """
    points = curve_points(curve)
    data = curve.data
    keyed = None
    if data.animation_data is not None and data.animation_data.action is not None:
        curves = actions.fcurves(data.animation_data.action, data)
        keyed = next((c for c in curves if c.data_path == "eval_time" and len(c.keyframe_points)), None)
    if keyed is None:
        part = np.linspace(0.0, 1.0, len(frames))
    else:
        part = np.clip([keyed.evaluate(frame) / max(data.path_duration, 1) for frame in frames], 0.0, 1.0)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=-1))])
    return np.stack([np.interp(part * along[-1], along, points[:, i]) for i in range(3)], -1)
