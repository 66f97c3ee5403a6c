import bpy

bpy.context.scene.mgpt3.variations = 4
bpy.context.scene.mgpt3.use_guidance = False
bpy.context.scene.mgpt3.guidance = 2.0
bpy.context.scene.mgpt3.clean_feet = True
bpy.context.scene.mgpt3.fast = False
bpy.context.scene.mgpt3.literal = False
bpy.context.scene.mgpt3_rig.root = "HIPS"
bpy.context.scene.mgpt3_rig.hands = False
bpy.context.scene.mgpt3_rig.feet = False
bpy.context.scene.mgpt3_rig.in_place = False
bpy.context.scene.mgpt3_rig.loop = False
bpy.context.scene.mgpt3_rig.relaxed_hands = False
