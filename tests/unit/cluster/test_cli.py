"""What the command line imports before it knows what is asked of it."""

import subprocess
import sys

HEAVY = {
    *("numpy", "numba", "scipy", "pyarrow", "pandas", "matplotlib", "xgboost", "ray", "fastapi"),
    *("psycopg", "sqlalchemy", "alembic", "kafka", "structlog", "opentelemetry", "jinja2"),
}
"""Libraries that take a tenth of a second or more to import, or bring others that do: a command imports its own."""


def test_help_imports_nothing_heavy() -> None:
    words = (
        "import sys; sys.argv = ['vitanexus', '--help']; import cluster.cli\n"
        "try: cluster.cli.main()\n"
        "finally: print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 and "simulate" in done.stdout, done.stderr
    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert "cluster" in loaded
    assert not loaded & HEAVY
