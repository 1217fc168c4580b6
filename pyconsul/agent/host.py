"""``/v1/agent/host``: the machine that an agent runs on, in the shape that Consul gives.

Read from ``/proc`` and the operating system when asked. What a system does not tell is 0 or empty, and
named under ``Errors``.
"""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyconsul.interfaces import WallTime

MEMORY = {
    "total": "MemTotal", "available": "MemAvailable", "free": "MemFree", "active": "Active",
    "inactive": "Inactive", "buffers": "Buffers", "cached": "Cached", "writeback": "Writeback",
    "dirty": "Dirty", "writebacktmp": "WritebackTmp", "shared": "Shmem", "slab": "Slab",
    "sreclaimable": "SReclaimable", "sunreclaim": "SUnreclaim", "pagetables": "PageTables",
    "swapcached": "SwapCached", "commitlimit": "CommitLimit", "committedas": "Committed_AS",
    "hightotal": "HighTotal", "highfree": "HighFree", "lowtotal": "LowTotal", "lowfree": "LowFree",
    "swaptotal": "SwapTotal", "swapfree": "SwapFree", "mapped": "Mapped", "vmalloctotal": "VmallocTotal",
    "vmallocused": "VmallocUsed", "vmallocchunk": "VmallocChunk", "hugepagesize": "Hugepagesize",
}  # fmt: skip
CPU = {"vendorId": "vendor_id", "family": "cpu family", "model": "model", "modelName": "model name"}
CPUS_MAX = 1024


def describe_host(wall_time: WallTime, root: str = "/") -> dict[str, Any]:
    """Everything.

    :param root: where ``proc`` and ``etc`` are.
    """
    problems: list[str] = []

    def attempt(what: str, find: Callable[[], Any]) -> Any:
        try:
            return find()
        except (OSError, ValueError, LookupError) as error:
            problems.append(f"{what}: {error}")
            return None

    base = Path(root)
    return {
        "Memory": attempt("memory", lambda: memory(base)),
        "CPU": attempt("cpu", lambda: processors(base)),
        "Host": attempt("host", lambda: host(base)),
        "Disk": attempt("disk", lambda: disk("/")),
        "CollectionTime": int(wall_time() * 1e9),
        "Errors": problems or None,
    }


def memory(root: Path) -> dict[str, Any]:
    """Bytes of memory by use."""
    told: dict[str, int] = {}
    for line in (root / "proc/meminfo").read_text("ascii").splitlines():
        name, _, rest = line.partition(":")
        number, _, unit = rest.strip().partition(" ")
        told[name] = int(number) * (1024 if unit == "kB" else 1)
    shown: dict[str, Any] = {name: told.get(key, 0) for name, key in MEMORY.items()}
    shown["cached"] += shown["sreclaimable"]
    used = shown["total"] - shown["free"] - shown["buffers"] - shown["cached"]
    shown["used"] = used
    shown["usedPercent"] = used / shown["total"] * 100 if shown["total"] else 0.0
    shown["laundry"] = shown["wired"] = 0
    shown["hugepagestotal"] = told.get("HugePages_Total", 0)
    shown["hugepagesfree"] = told.get("HugePages_Free", 0)
    return shown


def processors(root: Path) -> list[dict[str, Any]]:
    """One entry for each logical processor."""
    found: list[dict[str, Any]] = []
    for text in (root / "proc/cpuinfo").read_text("utf-8", "replace").split("\n\n")[:CPUS_MAX]:
        facts = {key.strip(): value.strip() for key, _, value in map(_pair, text.splitlines())}
        if "processor" not in facts:
            continue
        shown: dict[str, Any] = {name: facts.get(key, "") for name, key in CPU.items()}
        shown.update(
            cpu=int(facts["processor"]),
            stepping=int(facts.get("stepping", 0)),
            physicalId=facts.get("physical id", ""),
            coreId=facts.get("core id", ""),
            cores=1,
            mhz=float(facts.get("cpu MHz", 0)),
            cacheSize=int(facts.get("cache size", "0").split()[0]),
            flags=facts.get("flags", facts.get("Features", "")).split(),
            microcode=facts.get("microcode", ""),
        )
        found.append(shown)
    return found


def host(root: Path) -> dict[str, Any]:
    """Names, versions and times of the system."""
    release = {key: value.strip('"') for key, _, value in map(_equals, _lines(root / "etc/os-release"))}
    counted = {name: rest for name, _, rest in map(_spaced, _lines(root / "proc/stat"))}
    family = (release.get("ID_LIKE") or release.get("ID", "")).split()
    return {
        "hostname": socket.gethostname(),
        "uptime": int(float((root / "proc/uptime").read_text("ascii").split()[0])),
        "bootTime": int(counted["btime"]),
        "procs": sum(1 for name in os.listdir(root / "proc") if name.isdigit()),
        "os": platform.system().lower(),
        "platform": release.get("ID", ""),
        "platformFamily": family[0] if family else "",
        "platformVersion": release.get("VERSION_ID", ""),
        "kernelVersion": platform.release(),
        "kernelArch": platform.machine(),
        "virtualizationSystem": "",
        "virtualizationRole": "",
        "hostid": _host_id(root),
    }


def disk(path: str) -> dict[str, Any]:
    """Bytes and inodes of the file system that ``path`` is on."""
    facts = os.statvfs(path)
    total, free = facts.f_blocks * facts.f_frsize, facts.f_bavail * facts.f_frsize
    used = (facts.f_blocks - facts.f_bfree) * facts.f_frsize
    inodes_used = facts.f_files - facts.f_ffree
    return {
        "path": path,
        "fstype": "",
        "total": total,
        "free": free,
        "used": used,
        "usedPercent": used / (used + free) * 100 if used + free else 0.0,
        "inodesTotal": facts.f_files,
        "inodesUsed": inodes_used,
        "inodesFree": facts.f_ffree,
        "inodesUsedPercent": inodes_used / facts.f_files * 100 if facts.f_files else 0.0,
    }


def _pair(line: str) -> tuple[str, str, str]:
    return line.partition(":")


def _equals(line: str) -> tuple[str, str, str]:
    return line.partition("=")


def _spaced(line: str) -> tuple[str, str, str]:
    return line.partition(" ")


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8", "replace").splitlines()


def _host_id(root: Path) -> str:
    """What tells this machine from others, empty if nothing does."""
    for name in ("sys/class/dmi/id/product_uuid", "etc/machine-id", "proc/sys/kernel/random/boot_id"):
        try:
            text = (root / name).read_text("ascii").strip().lower()
        except (OSError, ValueError):
            continue
        if text:
            return text
    return ""
