"""The embedded core: everything that knows torch. Never imports bpy."""
