"""Numerical parity with the official MotionGPT3: recorded outputs of its code against this project's own model."""
