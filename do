#!/usr/bin/env python3
"""The one door for every task: ./do TASK [arguments]. Makes .venv on first use; ./do alone lists the tasks.

Needs Python 3.11 or newer with venv, and PyPI on first use. Standard library only, and no syntax younger than
Python 3.6, so that an older Python gets as far as the message about its age.
"""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(f"do: Python 3.11 or newer is needed; this is {sys.version.split()[0]}. With another: python3.12 do TASK")

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = str(BIN / ("python.exe" if os.name == "nt" else "python"))

BUILD = "requirements-build.lock"
DEMO = "requirements-demo.lock"
EVERYTHING = "requirements.lock"


# ---- the tasks ----


def demo(args):
    """the shop, opened in a browser; `demo flights`: the example on real data (--postgres: on a server); Ctrl-C stops it"""
    if args[:1] != ["flights"]:
        set_up(DEMO)
        become([PYTHON, "-m", "syncline", "demo", *args])
    set_up(EVERYTHING if any(arg.partition("=")[0] == "--postgres" for arg in args) else DEMO)
    become([PYTHON, "examples/flights/demo.py", *args[1:]])


def test(args):
    """all tests but the long ones, on all cores; arguments go to pytest: ./do test -k name"""
    set_up(EVERYTHING)
    become_pytest(["-n", "auto", "--dist=worksteal", *args])


def check(args):
    """lint, format, types, and who may import whom; changes nothing"""
    takes_no_arguments(args)
    set_up(EVERYTHING)
    commands = [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], ["lint-imports", "--no-logo"]]
    failed = [" ".join(command) for command in commands if run([str(BIN / command[0]), *command[1:]]) != 0]
    if failed:
        sys.exit("do: failed: " + ", ".join(failed))
    say("all checks passed")


def fmt(args):
    """formats the code, and mends what the linter can mend safely"""
    takes_no_arguments(args)
    set_up(EVERYTHING)
    statuses = [run([str(BIN / "ruff"), "check", "--fix", "."]), run([str(BIN / "ruff"), "format", "."])]
    sys.exit(max(statuses))


def bench(args):
    """the benchmarks, or those named: ./do bench NAME ..."""
    set_up(EVERYTHING)
    become([PYTHON, "benchmarks/run.py", *args])


def long(args):
    """the tests that take minutes; arguments go to pytest"""
    set_up(EVERYTHING)
    become_pytest(["-m", "long", "--timeout=3600", *args])


def lock(args):
    """writes the lock files anew after a change of dependencies; needs uv; --upgrade takes the newest of all"""
    uv = shutil.which("uv")
    if uv is None:
        sys.exit("do: making the lock files needs uv (using them does not): pip install uv")
    # A pin stays as it is unless --upgrade is given. The demo's pins are the tests' pins: ./do demo relies on that.
    compile_ = [uv, "pip", "compile", "--quiet", "--universal", "--python-version=3.11", "--generate-hashes"]
    compile_ += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links", *args]
    for name, sources in (
        (BUILD, ["--group", "build"]),
        (EVERYTHING, ["pyproject.toml", "--group", "dev"]),
        (DEMO, ["pyproject.toml", "--group", "demo", "--constraint", EVERYTHING]),
    ):
        if run([*compile_, "--output-file", name, *sources]) != 0:
            sys.exit(f"do: {name} was not made")


def takes_no_arguments(args):
    if args:
        sys.exit("do: this task takes no arguments")


TASKS = {task.__name__: task for task in (demo, test, check, fmt, bench, long, lock)}


# ---- the virtual environment ----


def set_up(requirements):
    """Brings .venv up to the lock file and pyproject.toml. Does nothing, quickly, when it is."""
    with one_at_a_time():
        make_venv()
        install(BUILD, ["-r", BUILD], ROOT / BUILD)
        # Every pin of the demo's lock file is in the other one too.
        if not (requirements == DEMO and is_done(EVERYTHING, ROOT / EVERYTHING)):
            install(requirements, ["-r", requirements], ROOT / requirements)
        # The project itself, in place: `src` comes on the path, and the console command into .venv.
        install("syncline", ["--editable", "."], ROOT / "pyproject.toml")


@contextlib.contextmanager
def one_at_a_time():
    """Two set-ups at once wait for each other. The lock ends with the process that holds it, however that ends."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with open(ROOT / ".venv.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another ./do to finish its set-up")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make_venv():
    owner = VENV / "made-by-do"
    if owner.exists() and owner.read_text() == made_for() and Path(PYTHON).exists():
        return
    if VENV.exists() and not owner.exists():
        sys.exit("do: .venv is not one that ./do made; move it away and try again")
    if importlib.util.find_spec("ensurepip") is None:
        sys.exit("do: this Python has no complete venv module; on Debian and Ubuntu: apt install python3-venv")
    say(f"making .venv with Python {sys.version.split()[0]}; this and what follows is done once")
    if VENV.exists():
        shutil.rmtree(VENV)
    VENV.mkdir()
    owner.write_text("unfinished")
    venv.create(VENV, with_pip=shutil.which("uv") is None, symlinks=os.name != "nt")
    owner.write_text(made_for())


def made_for():
    """A virtual environment holds absolute paths: one copied or moved, or whose Python changed, is made anew."""
    return f"{ROOT}\n{os.path.realpath(PYTHON)}\n"


def install(name, what, source):
    if is_done(name, source):
        return
    say("installing " + name)
    flags = ["--quiet", "--no-deps", "--no-build-isolation"]
    flags += ["--require-hashes"] if "-r" in what else []
    if not (install_with_uv(flags + what) or install_with_pip(flags + what)):
        sys.exit(f"do: could not install {name} (the reason is above); ./do again goes on from here")
    stamp(name).write_text(digest(source))


def install_with_uv(arguments):
    uv = shutil.which("uv")
    return uv is not None and run([uv, "pip", "install", "--python", PYTHON, *arguments], quiet=True) == 0


def install_with_pip(arguments):
    if not any((BIN / name).exists() for name in ("pip", "pip.exe")):  # the environment was made for uv
        run([PYTHON, "-m", "ensurepip", "--default-pip"], quiet=True)
    pip = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--use-pep517"]
    return run([*pip, *arguments], quiet=True) == 0


def is_done(name, source):
    return stamp(name).exists() and stamp(name).read_text() == digest(source)


def stamp(name):
    return VENV / ("installed-" + name)


def digest(source):
    return hashlib.sha256(source.read_bytes()).hexdigest()


# ---- running ----


def run(command, quiet=False):
    """The exit status of a command. Ctrl-C goes to the command as well, which is left the time to end as it likes."""
    if not quiet:
        say(" ".join([Path(command[0]).name, *command[1:]]))
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


def become_pytest(arguments):
    # Tests start hundreds of processes. With this set, as some machines have it, each of them compiles the program for itself.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    become([PYTHON, "-m", "pytest", *arguments])


def become(command):
    """Hands this process over to a task's last command: signals, exit status and terminal are then its own."""
    os.chdir(ROOT)
    if os.name == "nt":
        sys.exit(subprocess.call(command))
    os.execv(command[0], command)


def say(text):
    print(f"do: {text}", file=sys.stderr, flush=True)


def usage():
    lines = [f"  {name:6} {task.__doc__}" for name, task in TASKS.items()]
    return "\n".join(["usage: ./do TASK [arguments]", "", *lines])


def main(words):
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
    elif words[0] not in TASKS:
        print(f"do: there is no task {words[0]}\n{usage()}", file=sys.stderr)
        sys.exit(2)
    else:
        TASKS[words[0]](words[1:])


try:
    main(sys.argv[1:])
except KeyboardInterrupt:
    sys.exit(130)
