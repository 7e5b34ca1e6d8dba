"""A private PostgreSQL server: made, started, stopped, killed and removed by the tests alone.

Listens on a Unix socket only. Root runs it as user postgres, anyone else as themselves.
"""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

PORT = 5432  # names the socket; nothing listens on TCP
START_SECONDS = 60
PR_SET_PDEATHSIG = 1


def end_with_parent():
    """Between fork and exec: a test run that is killed takes its servers along."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


def server_bindir():
    """The directory of the server's programs: of PG_CONFIG where that has them, else Debian's 15."""
    for candidate in (os.environ.get("PG_CONFIG") or "pg_config", "/usr/lib/postgresql/15/bin/pg_config"):
        program = shutil.which(candidate)
        if program:
            bindir = Path(subprocess.check_output([program, "--bindir"], text=True).strip())
            if (bindir / "postgres").exists():
                return bindir
    raise RuntimeError("no PostgreSQL server found; run make setup")


class Cluster:
    """One data directory and the server on it."""

    def __init__(self, settings=None):
        self.bindir = server_bindir()
        self.settings = dict(settings or {})
        # Short: a socket's path has to fit into 107 bytes. Not below a home directory: postgres must reach it.
        self.dir = Path(tempfile.mkdtemp(prefix="cloudsync-", dir="/var/tmp"))
        self.data = self.dir / "data"
        self.sockets = self.dir / "s"
        self.log = self.dir / "log"
        self.sockets.mkdir()
        self.account = pwd.getpwnam("postgres") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
        if os.getuid() == 0:
            for path in (self.dir, self.sockets):
                os.chown(path, self.account.pw_uid, self.account.pw_gid)
        self.process = None

    def command(self, *arguments):
        """Runs one of the server's programs as the server's user and returns its output."""
        program = str(self.bindir / arguments[0])
        done = subprocess.run(
            [program, *map(str, arguments[1:])], text=True, capture_output=True, cwd=self.dir, **self._identity()
        )
        if done.returncode:
            raise RuntimeError(f"{arguments[0]} failed: {done.stderr}")
        return done.stdout

    def _identity(self):
        # RUST_BACKTRACE would put a backtrace into the DETAIL of every error of the extension.
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "RUST_"))}
        environment["HOME"] = str(self.dir)
        identity = {"env": environment}
        if os.getuid() == 0:
            identity |= {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        return identity

    def create(self):
        self.command("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as conf:
            for name, value in self.settings.items():
                conf.write(f"{name} = '{value}'\n")
        return self

    def start(self, wait=True):
        assert self.process is None
        arguments = [self.bindir / "postgres", "-D", self.data, "-k", self.sockets, "-p", str(PORT), "-h", ""]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                list(map(str, arguments)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.dir,
                start_new_session=True,
                preexec_fn=end_with_parent,
                **self._identity(),
            )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self):
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.connect("template1").close()
                return
            except psycopg.OperationalError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the server did not start: {error}\n{self.log_text()[-4000:]}") from error
                time.sleep(0.05)

    def _end(self, number, seconds):
        if self.process is None:
            return 0.0
        started = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(seconds)
        self.process = None
        return time.monotonic() - started

    def stop(self):
        """A fast shutdown; returns how many seconds it took."""
        return self._end(signal.SIGINT, 60)

    def stop_immediate(self):
        """Ends without a checkpoint, as a crash would."""
        return self._end(signal.SIGQUIT, 60)

    def kill_backend(self, pid):
        """kill -9, which makes the server start anew; returns once it has."""
        before = self.log_text().count("reinitializing")
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + START_SECONDS
        while self.log_text().count("reinitializing") == before:
            assert time.monotonic() < deadline, "the server took no notice of the kill"
            time.sleep(0.02)
        self.wait_ready()

    def restart(self):
        self.stop()
        return self.start()

    def remove(self):
        if self.process is not None:
            try:
                self.stop_immediate()
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(10)
                self.process = None
        shutil.rmtree(self.dir, ignore_errors=True)

    def dsn(self, dbname, user="postgres", **more):
        return {"host": str(self.sockets), "port": PORT, "dbname": dbname, "user": user, "connect_timeout": 10, **more}

    def connect(self, dbname, user="postgres", autocommit=True, **more):
        return psycopg.connect(**self.dsn(dbname, user, **more), autocommit=autocommit)

    def log_text(self):
        try:
            return self.log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def start_psql(self, dbname, statement, application_name, options=""):
        """A client process of its own, for tests that end it."""
        conninfo = f"host={self.sockets} port={PORT} user=postgres dbname={dbname} application_name={application_name}"
        return subprocess.Popen(
            [str(self.bindir / "psql"), "-X", "-d", f"{conninfo} options='{options}'", "-c", statement],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.dir,
            **self._identity(),
        )

    def psql(self, dbname, script, user="postgres"):
        """What psql prints for a script: results, NOTICEs and errors as a person sees them."""
        done = subprocess.run(
            [str(self.bindir / "psql"), "-X", "-q", "-h", str(self.sockets), "-p", str(PORT), "-U", user, "-d", dbname],
            input=script,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.dir,
            **self._identity(),
        )
        return done.stdout
