#!/usr/bin/env python3
"""The golden vectors of `skh1`: `skh1.py check` verifies skh1.json, `skh1.py generate` writes it anew.

`check` needs Python 3.8 and nothing else. `generate` also needs `xxhash` from PyPI and refuses to write a vector on
which it and xxh3.py disagree; since the placement never changes, it must write the file that is there already.

The first line of the file carries the SHA-256 of everything after it. Keys are written with one field that names
their type: {"text"}, {"u64"} and {"i64"} as decimal text, {"uuid"}, {"bytes"} as hex, {"tuple"} as a list of keys.
"""

import hashlib
import json
import random
import struct
import sys
import uuid
from pathlib import Path

from xxh3 import xxh3_64

FILE = Path(__file__).with_name("skh1.json")
SLOT_BITS = 14
SHOWN = 48  # encodings up to this length are in the file, so that a wrong one is easy to see


def encoded(key):
    """The bytes of a key."""
    (kind, value), = key.items()
    if kind == "text":
        return b"\x01" + value.encode("utf-8")
    if kind == "u64":
        return b"\x02" + struct.pack(">Q", int(value))
    if kind == "i64":
        return b"\x03" + struct.pack(">q", int(value))
    if kind == "uuid":
        return b"\x04" + uuid.UUID(value).bytes
    if kind == "bytes":
        return b"\x05" + bytes.fromhex(value)
    if kind == "tuple":
        parts = [encoded(part) for part in value]
        return b"\x10" + b"".join(struct.pack(">I", len(part)) + part for part in parts)
    raise ValueError(f"unknown kind of key {kind!r}")


def vector(key):
    data = encoded(key)
    value = xxh3_64(data)
    out = {"key": key, "hash": f"{value:016x}", "slot": value >> 64 - SLOT_BITS}
    if len(data) <= SHOWN:
        out["encoded"] = data.hex()
    return out


def keys():
    """Every length from 0 to 300, every tag, edges, letters of many scripts, nested tuples; from a fixed seed."""
    rng = random.Random("skh1")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789-_.:/"
    scripts = "äßéøñçžığΩжщאبहำ中日한𝒳🦀\u0301\u200d\0\n\"\\"

    def text(length, alphabet):
        return {"text": "".join(rng.choice(alphabet) for _ in range(length))}

    def scalar():
        return rng.choice((
            lambda: text(rng.randrange(24), letters),
            lambda: text(rng.randrange(8), scripts),
            lambda: {"u64": str(rng.getrandbits(64) >> rng.randrange(64))},
            lambda: {"i64": str(rng.getrandbits(63) - 2**63 >> rng.randrange(64))},
            lambda: {"i64": str(rng.getrandbits(63) >> rng.randrange(63))},
            lambda: {"uuid": str(uuid.UUID(int=rng.getrandbits(128)))},
            lambda: {"bytes": rng.randbytes(rng.randrange(24)).hex()},
        ))()

    def tree(depth):
        if depth == 0 or rng.random() < 0.4:
            return scalar()
        return {"tuple": [tree(depth - 1) for _ in range(rng.randint(1, 4))]}

    for length in range(301):
        yield text(length, letters)
        yield {"bytes": rng.randbytes(length).hex()}
    for length in range(101):
        yield text(length, scripts)
    for length in (511, 512, 513, 1022, 1023, 1024, 1025, 2047, 2048, 2049):
        yield text(length, letters)
    for edge in [0, 1, 2, 7, 10, 127, 128, 255, 256, 65535, 65536, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1]:
        yield {"u64": str(edge)}
        for signed in {edge, -edge, -edge - 1}:
            if -2**63 <= signed < 2**63:
                yield {"i64": str(signed)}
    for number in range(1000):
        yield {"u64": str(number)}
        yield {"i64": str(-number)}
        yield {"text": f"tenant-{number}"}
    for same in ("7", "-7", "é", "e\u0301", "ACME", "acme", "", " ", "\0", "00000000-0000-0000-0000-000000000007"):
        yield {"text": same}
    for bits in (0, 7, 2**128 - 1):
        yield {"uuid": str(uuid.UUID(int=bits))}
    for _ in range(3600):
        yield scalar()
    for depth in (1, 2, 3):
        for _ in range(1000):
            yield {"tuple": [tree(depth) for _ in range(rng.randint(1, 6 if depth == 1 else 3))]}


def generated():
    import xxhash

    lines = []
    for key in keys():
        one = vector(key)
        if xxhash.xxh3_64_intdigest(encoded(key)) != int(one["hash"], 16):
            raise SystemExit(f"xxh3.py and PyPI xxhash disagree on {key}")
        lines.append(json.dumps(one, ensure_ascii=True, separators=(",", ":")))
    body = '"vectors":[\n' + ",\n".join(lines) + "\n]}\n"
    head = {"name": "skh1", "hash": "XXH3-64, seed 0", "slots": 1 << SLOT_BITS, "count": len(lines)}
    head["sha256_of_the_rest"] = hashlib.sha256(body.encode()).hexdigest()
    return json.dumps(head)[:-1] + ",\n" + body


def check():
    whole = FILE.read_text(encoding="utf-8")
    head, _, body = whole.partition("\n")
    head = json.loads(head.rstrip(",") + "}")
    if hashlib.sha256(body.encode()).hexdigest() != head["sha256_of_the_rest"]:
        raise SystemExit("skh1.json is not as it was written: its SHA-256 differs")
    vectors = json.loads(whole)["vectors"]
    if len(vectors) != head["count"] or head["slots"] != 1 << SLOT_BITS:
        raise SystemExit("skh1.json does not hold what its first line says")
    for one in vectors:
        again = vector(one["key"])
        if again != one:
            raise SystemExit(f"the vector {one} should be {again}")
    print(f"{len(vectors)} vectors agree")


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        check()
    elif sys.argv[1:] == ["generate"]:
        FILE.write_text(generated(), encoding="utf-8")
        check()
    else:
        raise SystemExit("usage: skh1.py check | generate")
