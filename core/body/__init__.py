"""SMPL-X for people who have it: their motion into joints, our motion into pose parameters of their body model.

The body model is licensed and stays with the user; nothing of it is in this project.
"""
