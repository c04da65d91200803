"""What scripts/soak and scripts/bench share: the state of the tree, the machine, and Markdown pages by section."""
import datetime
import glob
import os
import re
import subprocess

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
CARGO = os.environ.get("CARGO", "cargo")


def say(command):
    """First line that a command prints, or None if there is no such command."""
    try:
        run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    except OSError:
        return None
    return run.stdout.strip().splitlines()[0] if run.returncode == 0 and run.stdout.strip() else None


def commit():
    """The commit, and whether anything but the pages that are being written differs from it."""
    name = say(["git", "describe", "--always", "--abbrev=12"]) or "unknown commit"
    changed = say(["git", "status", "--porcelain", "--", ".", ":!docs/evidence.md", ":!docs/benchmarks.md"])
    return f"{name}-dirty" if changed else name


def stamp():
    """One line: commit, day, machine and server versions. No host name, no path."""
    postgres = next(iter(sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"), reverse=True)), "postgres")
    parts = [
        f"commit `{commit()}`",
        datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        f"{os.cpu_count()} cores",
        say(["rustc", "-V"]),
        say([postgres, "-V"]),
        say(["redis-server", "-v"]),
    ]
    text = ", ".join(part for part in parts if part)
    text = re.sub(r"postgres \(PostgreSQL\) (\S+)[^,]*", r"PostgreSQL \1", text)
    return re.sub(r"Redis server v=(\S+)[^,]*", r"Redis \1", re.sub(r"rustc (\S+)[^,]*", r"Rust \1", text))


def sections(path):
    """The page's `## ` sections by title, in order; the text before the first one has the title ''."""
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as handle:
        parts = re.split(r"^## (.+)$", handle.read(), flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2]))}


def write(path, head, named):
    """Writes the page whole, by way of a file beside it, so that a break leaves the old page."""
    text = head.strip() + "\n"
    for title, body in named.items():
        text += f"\n## {title}\n\n{body.strip()}\n"
    with open(path + ".new", "w", encoding="utf-8") as handle:
        handle.write(text)
    os.replace(path + ".new", path)
