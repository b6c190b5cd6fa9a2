"""What this backend uses of OmniGibson 1.1.1: the one table that code, tests and documents follow.

Written from the public source distribution, in own words. `tests/omnigibson` resolves every line
against that source, and reads the facade to see that it uses nothing else; so a name that does not
exist, or one that is used and not listed, fails a test without Isaac Sim.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Use:
    """One name that the facade uses.

    Attributes:
        owner: What it is read from: a handle of `HANDLES`.
        member: Its name there.
        kind: "method", "property", "attribute", "function", "class" or "module".
        parameters: Keyword arguments that are passed, and positional ones by name.
        gives: The handle that it is or returns, if it is used further.
    """

    owner: str
    member: str
    kind: str
    parameters: tuple[str, ...] = ()
    gives: str = ""


# Handle: dotted path of the module or class behind it, below the package omnigibson.
HANDLES: dict[str, str] = {
    "og": "",
    "gm": "macros.gm",
    "sim": "simulator._launch_simulator.Simulator",
    "env": "envs.env_base.Environment",
    "scene": "scenes.scene_base.Scene",
    "robot": "robots.manipulation_robot.ManipulationRobot",
    "joint": "prims.joint_prim.JointPrim",
    "link": "prims.rigid_prim.RigidPrim",
    "mesh": "prims.geom_prim.CollisionGeomPrim",
    "thing": "objects.usd_object.USDObject",
    "light": "objects.light_object.LightObject",
    "camera": "sensors.vision_sensor.VisionSensor",
    "contacts": "utils.usd_utils.RigidContactAPIImpl",
    "control_type": "controllers.controller_base.ControlType",
    "registry": "objects.REGISTERED_OBJECTS",
    "physics": "",  # the PhysX interface: Isaac Sim's own
    "lazy": "",  # everything below it is Isaac Sim's own
}

# Macros are set before the simulator starts; they cannot be changed once they were read.
MACROS = (
    "HEADLESS",
    "USE_GPU_DYNAMICS",
    "ENABLE_FLATCACHE",
    "ENABLE_OBJECT_STATES",
    "ENABLE_TRANSITION_RULES",
    "RENDER_VIEWER_CAMERA",
)

# What the simulator inherits from Isaac Sim and what Isaac Sim's interfaces are asked for: no
# source of them is public, so no test can look these up.
OUTSIDE = ("sim.is_playing", "sim.current_time", "sim.stage", "physics.update_simulation")

# What is reached through OmniGibson's own `lazy`, all of it Isaac Sim's and USD's; and whether the
# release's source asks for the same, which is the nearest thing to a proof without Isaac Sim.
LAZY: tuple[tuple[str, bool], ...] = (
    ("carb.settings.get_settings", True),
    ("omni.isaac.core.materials.PhysicsMaterial", True),
    ("pxr.Gf.Vec3d", True),
    ("pxr.PhysxSchema.PhysxMaterialAPI.Apply", False),
    ("pxr.UsdGeom.Cube.Define", False),
    ("pxr.UsdGeom.Xform.Define", False),
)
SCENE_MARGIN = 10.0  # by which the release puts scenes apart [m]

USES: tuple[Use, ...] = (
    Use("og", "sim", "attribute", gives="sim"),
    Use("og", "Environment", "class", ("configs", "in_vec_env"), gives="env"),
    Use("og", "shutdown", "function"),
    Use("og", "__version__", "attribute"),
    Use("sim", "step", "method"),
    Use("sim", "render", "method"),
    Use("sim", "play", "method"),
    Use("sim", "stop", "method"),
    Use("sim", "pi", "property", gives="physics"),
    Use("sim", "viewer_camera", "property", gives="camera"),
    Use("env", "post_play_load", "method"),
    Use("env", "scene", "property", gives="scene"),
    Use("env", "robots", "property"),
    Use("env", "external_sensors", "property"),
    Use("scene", "object_registry", "property"),
    Use("scene", "add_object", "method", ("obj",)),
    Use("scene", "dump_state", "method", ("serialized",)),
    Use("scene", "load_state", "method", ("state", "serialized")),
    Use("scene", "prim_path", "property"),
    Use("scene", "get_position_orientation", "method"),
    Use("robot", "name", "property"),
    Use("robot", "joints", "property"),
    Use("robot", "links", "property"),
    Use("robot", "joint_lower_limits", "property"),
    Use("robot", "joint_upper_limits", "property"),
    Use("robot", "get_joint_positions", "method"),
    Use("robot", "get_joint_velocities", "method"),
    Use("robot", "apply_action", "method", ("action",)),
    Use("joint", "set_control_type", "method", ("control_type", "kp", "kd")),
    Use("joint", "max_effort", "property"),
    Use("link", "prim_path", "property"),
    Use("link", "collision_meshes", "property"),
    Use("link", "get_position_orientation", "method", ("frame",)),
    Use("mesh", "apply_physics_material", "method", ("physics_material",)),
    Use("thing", "links", "property"),
    Use("thing", "root_link", "property", gives="link"),
    Use("thing", "get_position_orientation", "method", ("frame",)),
    Use("thing", "set_position_orientation", "method", ("position", "orientation", "frame")),
    Use("thing", "contact_list", "method"),
    Use("thing", "get_linear_velocity", "method"),
    Use("thing", "get_angular_velocity", "method"),
    Use("light", "color", "property"),
    Use("light", "intensity", "property"),
    Use("light", "set_position_orientation", "method", ("position", "orientation", "frame")),
    Use("camera", "get_obs", "method"),
    Use("camera", "image_height", "property"),
    Use("camera", "image_width", "property"),
    Use("camera", "focal_length", "property"),
    Use("camera", "horizontal_aperture", "property"),
    Use("camera", "set_position_orientation", "method", ("position", "orientation")),
    Use("contacts", "get_impulses", "method", ("prim_paths_a", "prim_paths_b")),
    Use("control_type", "POSITION", "attribute"),
)

# What is imported from where, below the package: (module, name, handle it becomes).
IMPORTS: tuple[tuple[str, str, str], ...] = (
    ("macros", "gm", "gm"),
    ("objects", "REGISTERED_OBJECTS", "registry"),
    ("scenes.scene_base", "Scene", "scene"),
    ("utils.usd_utils", "RigidContactAPI", "contacts"),
    ("controllers.controller_base", "ControlType", "control_type"),
    ("robots.manipulation_robot", "ManipulationRobot", "robot"),
    ("utils.python_utils", "classproperty", ""),
)

_ENTITY = ("name", "relative_prim_path", "scale", "fixed_base", "load_config", "abilities")
_OBJECT = (
    *_ENTITY,
    *("category", "visible", "visual_only", "self_collisions", "prim_type"),
    "include_default_states",
)
ROBOT_KEYS = (
    *_ENTITY,
    *("visible", "visual_only", "self_collisions", "control_freq", "controller_config"),
    *("action_type", "action_normalize", "reset_joint_pos", "obs_modalities", "proprio_obs"),
    *("sensor_config", "grasping_mode"),
)
_CONTROLLER = ("control_freq", "control_limits", "dof_idx")
_LIMITS = ("command_input_limits", "command_output_limits")

# What the constructor of each class takes. OmniGibson drops every other key without a word.
KEYS: dict[str, tuple[str, ...]] = {
    "Scene": (
        *("scene_file", "use_floor_plane", "floor_plane_visible", "floor_plane_color"),
        "use_skybox",
    ),
    "FrankaPanda": (*ROBOT_KEYS, "end_effector"),
    "USDObject": (*_OBJECT, "usd_path", "encrypted", "kinematic_only"),
    "DatasetObject": (*_OBJECT, "model", "kinematic_only", "bounding_box", "in_rooms"),
    "InteractiveTraversableScene": (
        *("scene_model", "scene_instance", "scene_file", "trav_map_resolution"),
        *("default_erosion_radius", "trav_map_with_objects", "num_waypoints"),
        *("waypoint_resolution", "load_object_categories", "not_load_object_categories"),
        *("load_room_types", "load_room_instances", "load_task_relevant_only"),
        *("seg_map_resolution", "include_robots"),
    ),
    "LightObject": (
        *_ENTITY,
        *("light_type", "category", "include_default_states", "radius", "intensity"),
    ),
    "VisionSensor": (
        *("relative_prim_path", "name", "modalities", "enabled", "noise", "load_config"),
        *("image_height", "image_width", "focal_length", "clipping_range", "viewport_name"),
    ),
    "DummyTask": ("termination_config", "reward_config"),
    "JointController": (
        *(*_CONTROLLER, *_LIMITS, "motor_type", "kp", "damping_ratio", "use_impedances"),
        *("use_gravity_compensation", "use_cc_compensation", "use_delta_commands"),
        "compute_delta_in_quat_space",
    ),
    "MultiFingerGripperController": (
        *(*_CONTROLLER, *_LIMITS, "motor_type", "inverted", "mode", "open_qpos", "closed_qpos"),
        "limit_tolerance",
    ),
}
CLASSES: dict[str, str] = {
    "Scene": "scenes.scene_base.Scene",
    "FrankaPanda": "robots.franka.FrankaPanda",
    "USDObject": "objects.usd_object.USDObject",
    "DatasetObject": "objects.dataset_object.DatasetObject",
    "InteractiveTraversableScene": (
        "scenes.interactive_traversable_scene.InteractiveTraversableScene"
    ),
    "LightObject": "objects.light_object.LightObject",
    "VisionSensor": "sensors.vision_sensor.VisionSensor",
    "DummyTask": "tasks.dummy_task.DummyTask",
    "JointController": "controllers.joint_controller.JointController",
    "MultiFingerGripperController": (
        "controllers.multi_finger_gripper_controller.MultiFingerGripperController"
    ),
}
# Keys that `Environment` itself takes out of an entry before it builds the class.
POSE_KEYS = {
    "robots": ("type", "position", "orientation", "pose_frame"),
    "objects": ("type", "position", "orientation"),
    "external_sensors": (
        *("sensor_type", "relative_prim_path", "name", "modalities", "enabled", "sensor_kwargs"),
        *("noise_type", "noise_kwargs", "position", "orientation", "pose_frame", "include_in_obs"),
    ),
}
SECTIONS: dict[str, tuple[str, ...]] = {
    "env": (
        *("action_frequency", "rendering_frequency", "physics_frequency", "device"),
        *("automatic_reset", "flatten_action_space", "flatten_obs_space", "initial_pos_z_offset"),
        "external_sensors",
    ),
    "render": ("viewer_width", "viewer_height"),
}
LIGHT_TYPES = ("Cylinder", "Disk", "Distant", "Dome", "Geometry", "Rect", "Sphere")
MODALITIES = ("rgb", "depth", "depth_linear", "seg_instance")
END_EFFECTORS = ("gripper", "allegro", "leap_right", "leap_left", "inspire")
KIT_VERSIONS = ("4.0.0", "4.1.0")  # of Isaac Sim, that the release starts with

# What is changed in the state of a scene, below "object_registry"; poses are in the scene frame.
STATE_KEYS = {
    "root_link": ("pos", "ori", "lin_vel", "ang_vel"),
    "robot": ("joint_pos", "joint_vel", "joint_eff"),
}

# What a robot class must define, and the hand's names in the Franka with an Inspire hand.
ROBOT_MEMBERS = (
    *("usd_path", "urdf_path", "robot_arm_descriptor_yamls", "controller_order"),
    *("_default_controllers", "_default_joint_pos", "_create_discrete_action_space"),
    *("arm_link_names", "arm_joint_names", "eef_link_names", "finger_link_names"),
    *("finger_joint_names", "n_arms", "arm_names"),
)
