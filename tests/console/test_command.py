"""How commands end: exit codes, one line for what is no bug, tracebacks for bugs."""

import errno
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from dexfw_envs.console.command import is_expected, one_line, run_command, run_main

ROOT = Path(__file__).parents[2]


@dataclass
class Options:
    """Of a command that does nothing."""

    count: int = 1


def ended(error: BaseException, *words: str) -> int:
    def work(_):
        raise error

    return run_main(work, list(words))


def test_exit_codes(capsys):
    assert run_main(lambda words: None, []) == 0
    assert run_main(lambda words: 1, []) == 1
    assert ended(OSError(errno.ENOSPC, "cannot write x: the disk is full")) == 1
    assert ended(ModuleNotFoundError("No module named 'torch'", name="torch")) == 1
    assert ended(FileNotFoundError(errno.ENOENT, "No such file or directory", "a.pt")) == 2
    assert ended(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err.splitlines()[0] == "error: cannot write x: the disk is full"


def test_options_are_read_and_refused(capsys):
    seen = []

    def note(options):
        seen.append(options.count)

    assert run_command(Options, note, argv=["--count", "3"]) == 0
    assert seen == [3]
    with pytest.raises(SystemExit) as end:
        run_command(Options, seen.append, argv=["--count", "three"])
    assert end.value.code == 2 and "Traceback" not in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        run_command(Options, seen.append, argv=["--help"])
    assert end.value.code == 0 and "--debug shows the traceback" in capsys.readouterr().out


def refuse(words):
    from dexfw_envs.registry import entry

    entry("Juggle")


def test_what_this_project_raises_is_one_line(capsys):
    assert run_main(refuse, []) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: unknown task 'Juggle'; choose one of")
    assert captured.err.count("\n") == 1 and captured.out == ""


def test_debug_shows_the_traceback_too(capsys):
    given = []
    assert run_main(lambda words: given.append(words) or refuse(words), ["a", "--debug"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err and err.splitlines()[-1].startswith("error: unknown task 'Juggle'")
    assert given == [["a"]]


@pytest.mark.parametrize(
    "bug",
    [
        lambda words: {}["key"],
        lambda words: None.missing,
        lambda words: int("x"),  # no `raise` of this project
        lambda words: [][1],
    ],
)
def test_a_bug_shows_its_traceback(bug, capsys):
    assert run_main(bug, []) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback") and not lines[-1].startswith("error: ")


def test_an_interruption_says_how_to_go_on():
    assert one_line(KeyboardInterrupt()) == "interrupted"
    error = KeyboardInterrupt("go on with: python x.py --resume runs/a")
    assert one_line(error) == "interrupted; go on with: python x.py --resume runs/a"
    assert is_expected(error)


def test_lines_of_errors():
    assert one_line(FileNotFoundError(2, "No such file or directory", "a.pt")) == (
        "error: a.pt: No such file or directory"
    )
    assert one_line(ValueError("two\n  lines")) == "error: two lines"
    words = one_line(ModuleNotFoundError("No module named 'torch'", name="torch"))
    assert words.startswith("error: this needs torch, which is not installed: pip install ")


def test_a_reader_that_has_enough_ends_a_command_quietly():
    program = (
        "import sys\n"
        "from dexfw_envs.console.command import run_main\n"
        "sys.exit(run_main(lambda words: print('line\\n' * 100_000, flush=True)))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == b"line\n"
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 1
    process.stderr.close()


# --- the table of bad calls

SCRIPTS = ("dexflywheel", "dexmimicgen", "human_demo", "dexpie")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in, with files that are not what a call takes them for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "text.pt").write_text("no checkpoint")
    (tmp_path / "other.safetensors").write_text("no policy")
    (tmp_path / "folder").mkdir()
    return tmp_path


BAD_FOR_SCRIPTS = [
    ("--task Juggle", "Juggle"),
    ("--no-such-option 1", "--no-such-option"),
    ("--preset huge", "huge"),
    ("--seed three", "three"),
    ("--seed -3", "--seed must be at least 0, got -3"),
    ("--threads 0", "--threads must be at least 1"),
    ("--save-seconds -1", "--save-seconds must be at least 0, got -1"),
    ("--base-lr -0.1", "--base-lr must be at least 0, got -0.1"),
    ("--base-lr nan", "--base-lr must be a finite number, got nan"),
    ("--base-batch 0", "--base-batch must be at least 1"),
    ("--width 0", "--width must be at least 1"),
    ("--eval-episodes 0", "--eval-episodes must be at least 1"),
    ("--backend bullet", "unknown backend 'bullet'"),
    ("--device abacus", "--device abacus cannot be used here"),
    ("--eval-splits T_OPE", "did you mean 'T_OEP'"),
    ("--split T_VAL", "without --evaluate there is no use for --split"),
    ("--evaluate text.pt --base-steps 3", "--evaluate takes all else from the checkpoint"),
    ("--evaluate text.pt --split T_X", "unknown split of Grasp 'T_X'"),
    ("--evaluate text.pt --episodes -1", "--episodes must be at least 1"),
    ("--evaluate none.pt", "none.pt: No such file or directory"),
    ("--evaluate folder", "folder: Is a directory"),
    ("--evaluate text.pt", "no checkpoint"),
    ("--evaluate other.safetensors", "other.safetensors is no policy"),
    ("--resume none", "no run at none"),
    ("--resume file", "no run at file"),
    ("--resume folder", "no run at folder"),
    ("--runs file", "cannot write file/"),
    ("--records file", "cannot write --records file"),
    ("--records folder --base-steps 7", "need --variant"),
]
BAD_FOR_SOME = [
    ("dexflywheel", "--alpha 2 2", "--alpha"),
    ("dexmimicgen", "--variant huge", "unknown --variant 'huge'; valid: default"),
    ("dexmimicgen", "--demos none", "none"),
    ("human_demo", "--variant huge", "unknown --variant 'huge'; valid: default"),
    ("human_demo", "--demos none", "none"),
    ("dexpie", "--variant huge", "unknown --variant 'huge'; valid: bc"),
    ("dexpie", "--collected none", "no run at none"),
    ("dexpie", "--demos none", "none"),
]


def check_refused(code: int, capsys, reason: str) -> None:
    """Exit code 2 and one line, or what argparse and tyro print of a wrong option."""
    err = capsys.readouterr().err
    assert "Traceback" not in err and reason in " ".join(err.split())
    assert code == 2
    if "usage:" not in err and "--help" not in err:
        told = [line for line in err.splitlines() if not line.endswith((" begins", " goes on"))]
        assert len(told) == 1 and told[0].startswith("error: ")


def outcome(work, words: str) -> int:
    try:
        return run_main(work, words.split())
    except SystemExit as end:
        return end.code


def calls() -> list:
    every = [(script, *bad) for script in SCRIPTS for bad in BAD_FOR_SCRIPTS]
    return [*every, *BAD_FOR_SOME]


@pytest.mark.parametrize(("script", "words", "reason"), calls())
def test_a_bad_call_of_a_script_is_refused_in_one_line(script, words, reason, place, capsys):
    pytest.importorskip("torch", reason="the scripts need torch")
    pytest.importorskip("diffusers", reason="the scripts need the extra train")
    from script_calls import call

    from benchmark.grid.scripts import load_script

    module = sys.modules.get(script) or load_script(script)
    check_refused(outcome(lambda argv: call(module, argv), words), capsys, reason)
    assert not list(place.glob("runs/*")) or "--demos" in words or "--collected" in words


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_checkpoint_of_something_else_is_no_policy(script, place, capsys):
    pytest.importorskip("torch", reason="the scripts need torch")
    pytest.importorskip("diffusers", reason="the scripts need the extra train")
    from script_calls import call

    from benchmark.grid.scripts import load_script
    from dexfw_envs.runs.checkpoints import dump

    module = sys.modules.get(script) or load_script(script)
    for state, reason in (
        ({"stage": "base_1"}, "other.pt is no checkpoint of a policy"),
        ({"args": {"task": "Grasp", "stride": 3}}, "settings of another version of the script"),
    ):
        (place / "other.pt").write_bytes(dump(state))
        code = outcome(lambda argv: call(module, argv), "--evaluate other.pt")
        check_refused(code, capsys, reason)


@pytest.mark.parametrize(
    ("script", "option", "reason"),
    [
        ("human_demo", "--demos", "no episode file or folder none"),
        ("dexpie", "--collected", "no run at none"),
    ],
)
def test_data_that_are_not_there_leave_no_run_behind(script, option, reason, place, capsys):
    pytest.importorskip("torch", reason="the scripts need torch")
    pytest.importorskip("diffusers", reason="the scripts need the extra train")
    from script_calls import call

    from benchmark.grid.scripts import load_script

    module = sys.modules.get(script) or load_script(script)
    code = outcome(lambda argv: call(module, argv), f"{option} none")
    check_refused(code, capsys, reason)
    assert not (place / "runs").exists()


BAD_FOR_COMMANDS = [
    ("dexfw_envs.demos.record", "--task Juggle", "unknown task 'Juggle'"),
    ("dexfw_envs.demos.record", "--seed -1", "--seed must be at least 0"),
    ("dexfw_envs.demos.record", "--output folder", "an episode file ends in .h5"),
    ("dexfw_envs.demos.record", "--task Juggle --output file", "unknown task 'Juggle'"),
    ("dexfw_envs.demos.record", "--output demonstration.txt", "an episode file ends in .h5"),
    ("dexfw_envs.demos.replay", "none.h5", "none.h5"),
    ("dexfw_envs.demos.replay", "--task Juggle", "Juggle"),
    ("dexfw_envs.demos.replay", "--num-envs 0", "--num-envs must be at least 1"),
    ("dexfw_envs.demos.replay", "--objects --episodes 0", "--episodes must be at least 1"),
    ("dexfw_envs.demos.replay", "--objects file", "name no files"),
    ("dexfw_envs.demos.replay", "--noise pink", "pink"),
    ("dexfw_envs.demos.verify", "none", "no episode file or folder none"),
    ("dexfw_envs.demos.verify", "", "required"),
    ("dexfw_envs.demos.export", "none --to robomimic --output a.hdf5", "none"),
    ("dexfw_envs.demos.export", "folder --to zip --output a", "unknown format 'zip'"),
    ("dexfw_envs.demos.export", "folder --to robomimic --output a --no-video", "--no-video"),
    ("dexfw_envs.experts.measure", "--task Juggle", "unknown task 'Juggle'"),
    ("dexfw_envs.experts.measure", "--episodes 0", "--episodes must be at least 1"),
    ("dexfw_envs.experts.measure", "--num-envs -2", "--num-envs must be at least 1"),
    ("dexfw_envs.experts.measure", "--threads 0", "--threads must be at least 1"),
    ("dexfw_envs.experts.measure", "--seed -2", "--seed must be at least 0"),
    ("benchmark.shipped", "--policy a.safetensors", "--policy and --output go together"),
    ("benchmark.shipped", "--policy none.safetensors --output a.npz", "none.safetensors"),
    ("benchmark.told", "none", "none"),
    ("benchmark.told", "folder", "no run at folder"),
    ("benchmark.endurance", "naps", "naps"),
    ("benchmark.endurance", "kills --kills -1", "--kills must be at least 1"),
    ("benchmark.speed.measure", "--env-id DexFW/Juggle-v0", "unknown task 'DexFW/Juggle-v0'"),
    ("benchmark.speed.scaling", "--worlds 0", "--worlds and --threads must be at least 1"),
    ("benchmark.speed.scaling", "--env-ids DexFW/Juggle-v0", "unknown task 'DexFW/Juggle-v0'"),
    ("benchmark.speed.start", "--record 3", "3"),
    ("benchmark.speed.measure", "--worlds 0", "--worlds must be at least 1"),
]


@pytest.mark.parametrize(("module", "words", "reason"), BAD_FOR_COMMANDS)
def test_a_bad_call_of_a_command_is_refused_in_one_line(module, words, reason, place, capsys):
    if module in ("benchmark.shipped", "benchmark.told"):
        pytest.importorskip("torch", reason="it reads policies by torch")
    name = f"{module}.__main__" if module.endswith("export") else module
    known = import_module(name)
    try:
        code = run_command(known.Args, known.main, argv=words.split())
    except SystemExit as end:
        code = end.code
    check_refused(code, capsys, reason)


BAD_FOR_HARNESS = [
    ("cells --preset huge", "huge"),
    ("cells --task Graps", "did you mean 'Grasp'"),
    ("cells --seed 99", "99"),
    ("cells --table none", "none"),
    ("run --workers 0", "--workers must be at least 1"),
    ("run --threads -1", "--threads at least 0"),
    ("adopt none", "none"),
    ("adopt folder", "folder"),
    ("tables --preset huge", "huge"),
    ("report --preset huge", "huge"),
    ("plots --no-such-option", "--no-such-option"),
    ("prove", "prove"),
]


@pytest.mark.parametrize(("words", "reason"), BAD_FOR_HARNESS)
def test_a_bad_call_of_the_harness_is_refused_in_one_line(words, reason, place, capsys):
    from benchmark.__main__ import main

    if words.startswith(("tables", "report", "plots")):
        pytest.importorskip("pandas", reason="tables and plots need the extra report")
    try:
        code = main(words.split())
    except SystemExit as end:
        code = end.code
    check_refused(code, capsys, reason)


def test_an_interrupted_harness_says_how_to_go_on(place, monkeypatch, capsys):
    from benchmark import commands
    from benchmark.__main__ import main

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "run_cells", interrupted)
    words = ["run", "--task", "Grasp", "--seed", "1", "--results", str(place / "results")]
    assert main([*words, "--runs", str(place / "runs")]) == 130
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "interrupted; the same call goes on where it was"


@pytest.mark.parametrize(
    ("module", "words", "reason"),
    [
        ("dexfw_envs.robots.urdf", "spot a.urdf", "unknown robot 'spot'"),
        ("dexfw_envs.robots.urdf", "panda_inspire file/a.urdf", "cannot write file/a.urdf"),
        ("benchmark.speed.record", "laps", "laps"),
    ],
)
def test_a_bad_call_of_a_small_command_is_refused_in_one_line(module, words, reason, place, capsys):
    known = import_module(module)
    check_refused(outcome(known.main, words), capsys, reason)


# --- a script as a process


def hears_interruptions():
    """Undo that who started the tests, such as a shell in the background, ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_script_that_is_interrupted_says_how_to_go_on(tmp_path):
    pytest.importorskip("torch", reason="the scripts need torch")
    words = ["baselines/human_demo.py", "--demonstrations", "2", "--threads", "1", "--num-envs",
             "2", "--base-steps", "100000", "--runs", str(tmp_path)]  # fmt: skip
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, preexec_fn=hears_interruptions, **pipes
    )
    try:
        for line in process.stderr:
            if line.startswith("base_1 begins"):
                break
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[1].splitlines()
    finally:
        process.kill()
    (run,) = tmp_path.iterdir()
    place = os.path.relpath(run, ROOT)
    assert process.returncode == 130
    assert rest == [f"interrupted; go on with: python baselines/human_demo.py --resume {place}"]


BLOCKED = """
import sys
from importlib.abc import MetaPathFinder

class Without(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {extras}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Without())
import runpy
sys.argv = {argv}
runpy.run_path({argv}[0], run_name="__main__")
"""


def without_extras(*argv: str) -> subprocess.CompletedProcess:
    """Run a script where no package of an extra is installed."""
    from dexfw_envs.console.extras import EXTRAS

    program = BLOCKED.format(extras=set(EXTRAS), argv=list(argv))
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_with_the_core_alone_help_works_and_running_says_what_to_install(script):
    path = f"baselines/{script}.py"
    asked = without_extras(path, "--help")
    assert asked.returncode == 0 and asked.stderr == "" and "--resume" in asked.stdout
    run = without_extras(path)
    assert run.returncode == 1 and run.stdout == ""
    told = re.fullmatch(r"error: this needs (\w+), which is not installed: (.*)\n", run.stderr)
    assert told[1] in ("torch", "safetensors") and told[2] == 'pip install -e ".[train,report]"'


def test_what_to_install_follows_how_the_user_installed(monkeypatch, tmp_path):
    from dexfw_envs.console import extras

    assert extras.install_line("track") == 'pip install -e ".[track]"'
    monkeypatch.setattr(extras, "CLONE", tmp_path)  # as if it were a wheel's
    assert extras.install_line("train") == 'pip install "dexfw[train]"'
    words = extras.missing_package("matplotlib.figure", "plots need")
    expected = 'plots need matplotlib, which is not installed: pip install "dexfw[report]"'
    assert words == expected


def test_every_extra_package_is_known():
    """What `pyproject.toml` asks for in an extra is named as that extra's here."""
    from dexfw_envs.console.extras import EXTRAS

    text = (ROOT / "pyproject.toml").read_text()
    names = {"pillow": "PIL", "usd-core": "pxr"}
    core = {"h5py", "numpy"}  # with other bounds there
    for extra in ("train", "data", "track", "report", "omnigibson"):
        (block,) = re.findall(rf"^{extra} = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
        packages = set(re.findall(r'"([\w-]+)[><=]', block)) - core
        assert {names.get(package, package) for package in packages} <= EXTRAS.keys(), extra
