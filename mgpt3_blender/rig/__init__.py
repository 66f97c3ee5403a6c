"""Motion onto characters and back: which bone plays which joint, the solve, the keys."""
