"""L0: the contract's table against OmniGibson's source, and the facade against the table."""

import ast

import pytest
from source import ROOT, need_source, source

from dexfw_envs.backends.omnigibson.description import configs, contract, plans
from dexfw_envs.backends.omnigibson.description.contract import HANDLES, IMPORTS, OUTSIDE, USES
from dexfw_envs.backends.omnigibson.description.robot_class import CLASS_NAME
from dexfw_envs.backends.omnigibson.description.strict import ROBOT_CLASSES
from dexfw_envs.backends.omnigibson.facade import requirements

BACKEND = ROOT / "dexfw_envs" / "backends" / "omnigibson"
FACADE = BACKEND / "facade"
TABLE = {(use.owner, use.member): use for use in USES}
KINDS = ("method", "property", "attribute", "function", "class")


def is_property(node):
    return any(getattr(d, "id", getattr(d, "attr", "")) in ("property", "cached_property", "setter")
               for d in node.decorator_list)  # fmt: skip


def test_the_source_is_whole():
    parsed = source()
    assert len(parsed.modules) == 238
    assert len(parsed.classes) > 370
    assert "simulator._launch_simulator.Simulator" in parsed.classes, "a class inside a function"


def test_the_reader_knows_what_does_not_exist():
    """What the table's tests rest on: these names were wrong in other people's code."""
    parsed = source()
    franka = contract.CLASSES["FrankaPanda"]
    assert parsed.function(franka, "get_joint_positions") is not None
    assert parsed.function(franka, "get_eef_pose") is None
    scene = HANDLES["scene"]
    assert parsed.function(scene, "skybox") is None and "skybox" not in parsed.attributes(scene)
    assert "bbox" not in parsed.parameters("objects.dataset_object.DatasetObject")


@pytest.mark.parametrize("use", USES, ids=lambda use: f"{use.owner}.{use.member}")
def test_every_use_exists_as_the_table_says(use):
    parsed, path = source(), HANDLES[use.owner]
    assert use.kind in KINDS
    if use.owner == "og":
        assert use.member in parsed.global_names("")
        if use.kind == "class":
            place = parsed.find_class("", use.member)
            assert set(use.parameters) <= set(parsed.parameters(place))
        return
    node = parsed.function(path, use.member)
    if use.kind == "attribute" or (use.kind == "property" and node is None):
        assert use.member in parsed.attributes(path)
    else:
        assert node is not None, f"{path} has no {use.member}"
        assert is_property(node) == (use.kind == "property")
    if use.kind == "method":
        known = parsed.parameters(path, use.member)
        assert set(use.parameters) <= set(known), f"it takes {known}"
        required = len(node.args.args) - 1 - len(node.args.defaults)
        assert set(known[:required]) <= set(use.parameters), "a required argument is not passed"


@pytest.mark.parametrize("item", IMPORTS, ids=lambda item: f"{item[0]}.{item[1]}")
def test_every_import_exists(item):
    module, name, handle = item
    assert name in source().global_names(module)
    assert handle == "" or handle in HANDLES


def test_macros_exist():
    text = (need_source() / "macros.py").read_text()
    for name in contract.MACROS:
        assert f"gm.{name} = " in text


@pytest.mark.parametrize("name", sorted(contract.CLASSES))
def test_keys_are_what_constructors_take(name):
    """OmniGibson keeps the keys of the class's own signature and drops the rest."""
    known = [p for p in source().parameters(contract.CLASSES[name]) if p not in ("**", "kwargs")]
    assert sorted(contract.KEYS[name]) == sorted(known)


def test_sections_are_those_of_the_default_configuration():
    parsed = source()
    node = parsed.function(HANDLES["env"], "default_config")
    [returned] = [child for child in ast.walk(node) if isinstance(child, ast.Return)]
    sections = {
        key.value: [k.value for k in value.keys] if isinstance(value, ast.Dict) else None
        for key, value in zip(returned.value.keys, returned.value.values, strict=True)
    }
    for section, keys in contract.SECTIONS.items():
        assert sorted(keys) == sorted(sections[section])
    assert {"robots", "objects", "task", "scene"} <= set(sections)


def test_keys_that_the_environment_takes_out_of_an_entry():
    parsed = source()
    for loader, section in (
        ("_load_robots", "robots"),
        ("_load_objects", "objects"),
        ("_load_external_sensors", "external_sensors"),
    ):
        popped = {
            call.args[0].value
            for call in ast.walk(parsed.function(HANDLES["env"], loader))
            if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "pop"
        }
        assert popped <= set(contract.POSE_KEYS[section])
        left = set(contract.POSE_KEYS[section]) - popped
        if section == "external_sensors":
            create = next(
                node for node in parsed.modules["sensors"].body
                if isinstance(node, ast.FunctionDef) and node.name == "create_sensor"
            )  # fmt: skip
            assert left == {arg.arg for arg in create.args.args}
        else:
            assert left == {"type"}


def test_values_that_the_classes_accept():
    folder = need_source()
    lights = (folder / "objects" / "light_object.py").read_text()
    for kind in contract.LIGHT_TYPES:
        assert f'"{kind}",' in lights
    vision = (folder / "sensors" / "vision_sensor.py").read_text()
    for modality in contract.MODALITIES:
        assert f'"{modality}",' in vision
    franka = (folder / "robots" / "franka.py").read_text()
    for hand in contract.END_EFFECTORS:
        assert f'"{hand}"' in franka
    gripper = (folder / "controllers" / "multi_finger_gripper_controller.py").read_text()
    assert '"independent"' in gripper


def test_isaac_sim_versions_are_those_the_release_starts_with():
    parsed = source()
    found = []
    for node in ast.walk(parsed.modules["simulator"]):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "attr", "") == "KIT_FILES":
            found = [".".join(map(str, key)) for key in ast.literal_eval(node.value)]
    assert tuple(found) == contract.KIT_VERSIONS == requirements.ISAAC_SIM[requirements.TESTED]


def test_the_franka_has_the_names_that_we_read():
    """Names of the Inspire hand, from the list of numbers in the class's source."""
    text = (need_source() / "robots" / "franka.py").read_text()
    [names] = plans.make_plan(plans.make_plan(_grasp_robot(), None).robot, None).arms
    numbers = [int(link.removeprefix("link")) for link in names.hand_links[1:]]
    assert f"hand_part_names = {numbers}" in text
    assert list(names.hand_joints) == [f"joint{number}" for number in numbers]
    assert 'f"panda_joint{i+1}" for i in range(7)' in text
    assert names.arm_joints == tuple(f"panda_joint{i + 1}" for i in range(7))
    assert '["base_link", "link12"]' in text and names.hand_links[0] == "base_link"
    assert 'f"models/franka/{self.model_name}.usd"' in text
    assert plans.FRANKA_FILES[0] == "models/franka/franka_inspire.usd"


def _grasp_robot():
    from dexfw_envs.robots.panda_inspire import panda_inspire

    return panda_inspire()


def test_what_a_robot_class_must_define():
    parsed = source()
    path = HANDLES["robot"]
    abstract = {
        node.name
        for owner in parsed.line(path)
        for node in parsed.classes[owner][1].body
        if isinstance(node, ast.FunctionDef)
        and any(getattr(d, "id", "") == "abstractmethod" for d in node.decorator_list)
        and not _is_defined_below(parsed, path, owner, node.name)
    }
    assert abstract <= set(contract.ROBOT_MEMBERS), abstract - set(contract.ROBOT_MEMBERS)
    assert ROBOT_CLASSES[CLASS_NAME] == contract.ROBOT_KEYS
    known = set(parsed.parameters(path))
    assert set(contract.ROBOT_KEYS) <= known


def _is_defined_below(parsed, path, owner, name):
    line = parsed.line(path)
    nearer = line[: line.index(owner)]
    return any(
        isinstance(node, ast.FunctionDef) and node.name == name
        and not any(getattr(d, "id", "") == "abstractmethod" for d in node.decorator_list)
        for place in nearer
        for node in parsed.classes[place][1].body
    )  # fmt: skip


# --- the facade


KEPT = {"_og": "og", "_contacts": "contacts"}  # handles that the facade keeps on itself


def handle_of(node):
    """The handle that an attribute is read from or written to, or None."""
    if isinstance(node, ast.Name):
        return node.id if node.id in HANDLES and node.id not in ("lazy", "registry") else None
    if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "self":
        return KEPT.get(node.attr)
    if isinstance(node, ast.Attribute):  # such as og.sim in og.sim.step
        use = TABLE.get((handle_of(node.value), node.attr))
        return use.gives or None if use else None
    return None


def handles_read(tree):
    """(handle, attribute) of every attribute of a handle."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            handle = handle_of(node.value)
            if handle is not None:
                yield handle, node.attr


# What is no handle: Python's own and NumPy's, a line of a contact list, prims of USD and Isaac Sim.
OWN = {"np", "self", "copy", "child", "values", "c", "material", "applied", "grain"}
FILES = ("api.py", "api_robots.py")


def chains(tree, root):
    """Dotted names below a variable, as far as they go: `lazy.pxr.Gf.Vec3d` is pxr.Gf.Vec3d."""
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in inner:
            name = ast.unparse(node)
            if name.startswith(f"{root}."):
                found.add(name.removeprefix(f"{root}."))
    return found


def test_what_is_asked_of_isaac_sim_is_listed_and_asked_by_the_release_too():
    """Isaac Sim has no public source; that the release asks for the same is the next best."""
    ours = set()
    for file in FILES:
        for name in chains(ast.parse((FACADE / file).read_text()), "lazy"):
            ours.add(name.partition("(")[0])  # `lazy.carb.settings.get_settings().set_int`
    assert ours == {name for name, _ in contract.LAZY}
    texts = [path.read_text() for path in need_source().rglob("*.py")]
    for name, also in contract.LAZY:
        assert any(f"lazy.{name}(" in text for text in texts) == also, name
    for call in ("sim.current_time", "sim.stage.", "sim.is_playing()"):
        assert any(f"og.{call}" in text for text in texts), call
    expected = "update_simulation(elapsedStep=0, currentTime=og.sim.current_time)"
    assert any(expected in text for text in texts)


def test_what_a_contact_holds():
    text = (need_source() / "utils" / "sim_utils.py").read_text()
    assert '"body0", "body1"' in text and "CsRawData = namedtuple" in text


def test_scenes_stand_apart_by_the_releases_margin():
    text = (need_source() / "simulator.py").read_text()
    assert f"m.SCENE_MARGIN = {contract.SCENE_MARGIN}" in text
    assert contract.SCENE_MARGIN == configs.SPACING
    farthest = min(configs.parking_place(index)[0] for index in range(64))
    assert farthest - 0.55 > -configs.SPACING + 0.8, "clear of the next scene's robot"


def test_the_scenes_state_has_the_keys_that_are_edited():
    """Where the release dumps a state it writes these keys, and poses in the scene frame."""
    parsed = source()
    written = {}
    for handle in ("link", "thing"):
        written[handle] = set()
        for owner in parsed.line(HANDLES[handle]):
            for node in parsed.classes[owner][1].body:
                if isinstance(node, ast.FunctionDef) and node.name == "_dump_state":
                    written[handle] |= keys_written(node)
    assert set(contract.STATE_KEYS["root_link"]) <= written["link"]
    assert set(contract.STATE_KEYS["robot"]) | {"root_link"} <= written["thing"]
    text = ast.unparse(parsed.function(HANDLES["link"].replace("rigid", "xform").replace(
        "RigidPrim", "XFormPrim"), "_dump_state"))  # fmt: skip
    assert "get_position_orientation(frame='scene')" in text
    registry = ast.unparse(parsed.function(HANDLES["scene"], "_create_registry"))
    assert "object_registry" in registry


def keys_written(function):
    """Keys of the dictionaries that a function makes by `dict(...)` or fills by name."""
    found = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "dict":
            found |= {keyword.arg for keyword in node.keywords}
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            found.add(node.slice.value)
    return found


@pytest.mark.parametrize("file", FILES)
def test_the_facade_uses_nothing_outside_the_table(file):
    tree = ast.parse((FACADE / file).read_text())
    for handle, attribute in handles_read(tree):
        if handle == "gm":
            continue
        if f"{handle}.{attribute}" in OUTSIDE:
            continue
        assert (handle, attribute) in TABLE, f"{file} reads {handle}.{attribute}"


@pytest.mark.parametrize("file", FILES)
def test_the_facade_passes_only_known_arguments(file):
    tree = ast.parse((FACADE / file).read_text())
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = handle_of(node.func.value)
        use = TABLE.get((owner, node.func.attr))
        if use is not None:
            given = {keyword.arg for keyword in node.keywords}
            assert given <= set(use.parameters), f"{owner}.{node.func.attr}: {given}"
            if owner != "scene":  # its registry is called as a function
                assert len(given) + len(node.args) <= len(use.parameters), node.func.attr


@pytest.mark.parametrize("file", FILES)
def test_other_variables_are_not_omnigibsons(file):
    """Whatever has attributes read and is no handle is known to be something else."""
    tree = ast.parse((FACADE / file).read_text())
    names = {
        node.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    known = set(HANDLES) | OWN | {"observation", "entry", "torch", "gains", "rest", "places"}
    assert names <= known, names - known


def test_every_line_of_the_table_is_used():
    text = "".join((FACADE / file).read_text() for file in FILES)
    read = {
        (handle, attribute)
        for file in FILES
        for handle, attribute in handles_read(ast.parse((FACADE / file).read_text()))
    }
    for use in USES:
        imported = use.owner == "control_type" and f"control_type.{use.member}" in text
        assert (use.owner, use.member) in read or imported, use
    for name in contract.MACROS:
        assert f'"{name}"' in text


def imported(tree):
    """Top-level packages that a module imports, also by name at run time."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else None
            if (name or getattr(node.func, "id", "")) in ("import_module", "__import__"):
                yield str(node.args[0].value).split(".")[0]


def test_only_the_facade_imports_omnigibson():
    theirs = {"omnigibson", "omni", "isaacsim", "carb"}
    paths = [p for f in ("dexfw_envs", "baselines", "benchmark") for p in (ROOT / f).rglob("*.py")]
    users = set()
    for path in paths:
        tree = ast.parse(path.read_text())
        if theirs & set(imported(tree)):
            users.add(path)
            inner = (ast.ClassDef, ast.FunctionDef)
            at_top = ast.Module([n for n in tree.body if not isinstance(n, inner)], [])
            assert not theirs & set(imported(at_top)), f"{path} imports it when it is imported"
    assert users == {FACADE / name for name in (*FILES, "api3.py")}


def test_only_one_module_reorders_quaternions():
    """`frames` rolls them; nobody else does, or picks their numbers in another order."""
    for path in BACKEND.rglob("*.py"):
        text = path.read_text()
        found = [m for m in ("np.roll", "[3, 0, 1, 2]", "[1, 2, 3, 0]") if m in text]
        assert bool(found) == (path.name == "frames.py"), (path.name, found)
