"""Make the environment in .venv, or say in one sentence what is missing.

This file must load on any Python 3, however old, so that an old one can say so:
only the standard library, no annotations of newer kinds, no f-strings.
"""

import hashlib
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
STAMP = os.path.join(VENV, ".ready")
OLDEST, NEWEST = (3, 11), (3, 13)
INPUTS = ("requirements.txt", "pyproject.toml")


def stop(sentence):
    """Print one sentence and leave with an error."""
    sys.stderr.write("\n" + sentence + "\n\n")
    sys.exit(1)


def fingerprint():
    """A digest of what the environment is made from."""
    digest = hashlib.sha256()
    for name in INPUTS:
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def usable(version):
    """Is this version of Python one that the book runs on?"""
    return OLDEST <= tuple(version[:2]) <= NEWEST


def version_of(program):
    """The (major, minor) of a Python program, or None if it does not run."""
    code = "import sys; print('%d %d' % sys.version_info[:2])"
    try:
        out = subprocess.check_output([program, "-c", code], stderr=subprocess.STDOUT)
        major, minor = out.decode().split()
        return int(major), int(minor)
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None


def find_python():
    """This Python if it suits, else the newest suitable one on the path."""
    if usable(sys.version_info):
        return sys.executable
    which = getattr(shutil, "which", lambda name: None)  # absent from Python 2
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        program = which("python3.%d" % minor)
        if program and version_of(program) == (3, minor):
            return program
    stop(
        "This book needs Python 3.11, 3.12 or 3.13 and this one is %d.%d: install "
        "one of them, then run make with PYTHON=python3.13 (or where it lies)."
        % tuple(sys.version_info[:2])
    )


def venv_python():
    """Where the environment's Python lies."""
    if os.name == "nt":
        return os.path.join(VENV, "Scripts", "python.exe")
    return os.path.join(VENV, "bin", "python")


def make_venv(python):
    """Create the empty environment."""
    probe = [python, "-c", "import venv, ensurepip"]
    if subprocess.call(probe, stderr=subprocess.DEVNULL) != 0:
        stop(
            "Python's venv module is missing: install it (on Debian and Ubuntu "
            "`apt-get install python%d.%d-venv`), then run make again."
            % (version_of(python) or OLDEST)
        )
    if subprocess.call([python, "-m", "venv", "--clear", VENV]) != 0:
        stop("The environment could not be created in %s." % VENV)


def torch_pin():
    """The line of requirements.txt that pins torch."""
    with open(os.path.join(ROOT, "requirements.txt"), encoding="utf-8") as file:
        for line in file:
            if line.startswith("torch=="):
                return line.strip()
    return stop("requirements.txt does not pin torch.")


def install():
    """Install what requirements.txt names, torch first."""
    pip = [venv_python(), "-m", "pip", "install", "--quiet", "--no-input"]
    pip += ["--disable-pip-version-check"]
    # Torch first and alone, so that nothing else pulls another build of it.
    steps = ([torch_pin()], ["-r", "requirements.txt"])
    for step in steps:
        print("Installing %s ..." % " ".join(step))
        sys.stdout.flush()
        if subprocess.call(pip + step, cwd=ROOT) != 0:
            stop(
                "pip could not install %s: the message above says why (a first run "
                "needs the network and up to 7 GB of disk)." % " ".join(step)
            )


def main():
    """Bring .venv up to date; quick when it already is."""
    wanted = fingerprint()
    if os.path.exists(STAMP) and os.path.exists(venv_python()):
        with open(STAMP, encoding="utf-8") as file:
            if file.read().strip() == wanted:
                os.utime(STAMP, None)
                return
    if version_of(venv_python()) is None or not usable(version_of(venv_python())):
        python = find_python()
        print("Making .venv with Python %d.%d ..." % version_of(python))
        make_venv(python)
    install()
    with open(STAMP, "w", encoding="utf-8") as file:
        file.write(wanted + "\n")
    print("The environment is ready.")


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
