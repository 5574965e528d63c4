"""VGGT: one point, depth and camera for every pixel and frame of a scene, from the images alone.

Source: Wang et al., "VGGT: Visual Geometry Grounded Transformer", CVPR 2025. Module names are those of the released
weights.
"""
