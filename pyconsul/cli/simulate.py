"""``pyconsul simulate``: servers in one process, in virtual time, through faults of all kinds."""

from __future__ import annotations

from pyconsul.cli.command import Command, Failed, Invocation
from pyconsul.cli.flags import Flag, boolean

SERVERS_MAX = 15
HOURS_MAX = 24.0 * 30.0
JOBS_MAX = 256


def run(invocation: Invocation) -> int:
    """Simulate each seed; what goes wrong is shown with all that is needed to see it again."""
    invocation.no_more_than(0)
    values = invocation.values
    if not 1 <= values["servers"] <= SERVERS_MAX:
        raise Failed(f"-servers must be 1 to {SERVERS_MAX}", usage=True)
    if not 0.0 < values["hours"] <= HOURS_MAX:
        raise Failed(f"-hours must be above 0 and at most {HOURS_MAX:.0f}", usage=True)
    if values["runs"] < 1 or values["clients"] < 1 or values["keys"] < 1:
        raise Failed("-runs, -clients and -keys must be at least 1", usage=True)
    if not 1 <= values["jobs"] <= JOBS_MAX:
        raise Failed(f"-jobs must be 1 to {JOBS_MAX}", usage=True)
    return _simulate(invocation)


def _prepare() -> None:
    """This process does nothing else: no log, and rare collections of garbage."""
    import gc

    from twisted.logger import globalLogBeginner

    import pyconsul.testing.world  # noqa: F401  (what is imported need not be collected)

    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 50)


def _simulate(invocation: Invocation) -> int:
    from pyconsul.testing.runs import Settings, Totals, simulate_all

    values = invocation.values
    terminal = invocation.terminal
    settings = Settings(
        servers=values["servers"],
        hours=values["hours"],
        clients=values["clients"],
        keys=values["keys"],
        fault_gap_s=values["fault-gap"],
        check_codec=values["check-codec"],
    )
    seeds = range(values["seed"], values["seed"] + values["runs"])
    jobs = min(values["jobs"], values["runs"])
    totals = Totals(jobs)
    for one in simulate_all(settings, seeds, jobs, _prepare):
        totals.add(one)
        if values["story"]:
            for line in one.story:
                terminal.out(line)
        (terminal.err if one.failure else terminal.out)(str(one))
    if totals.runs > 1 or totals.failed:
        terminal.out(str(totals))
    if totals.failed:
        terminal.err(f"{totals.failed} of {totals.runs} runs failed")
    return 1 if totals.failed else 0


COMMAND = Command(
    "simulate",
    "[options]",
    "Run whole servers in virtual time, on a network and on disks that fail, and check what they do. "
    "After each event Raft's safety properties are checked; after each minute, with everything mended, "
    "that a write is acknowledged within five seconds; at the end also that all servers hold what the "
    "log makes of it once, that no acknowledged write was lost, that what clients saw is linearizable, "
    "that stale reads never went back in time, and that no lock had two owners.\n\n"
    "Everything follows from the seed: the same seed gives the same run, and the same trace digest.",
    run,
    flags=(
        Flag("servers", "How many servers.", default=5, read=int, shown="count"),
        Flag("seed", "The seed of the first run.", default=1, read=int, shown="number"),
        Flag("runs", "How many runs, each with the next seed.", default=1, read=int, shown="count"),
        Flag("jobs", "How many processes make them.", default=1, read=int, shown="count"),
        Flag("hours", "Virtual hours of faults in each run.", default=0.1, read=float, shown="hours"),
        Flag("clients", "How many clients read and write.", default=5, read=int, shown="count"),
        Flag("keys", "How many keys they use.", default=10, read=int, shown="count"),
        Flag("fault-gap", "Mean seconds between faults.", default=6.0, read=float, shown="seconds"),
        boolean("check-codec", "Encode and decode every Raft message, and compare."),
        boolean("story", "Show what was done to the servers, and when."),
    ),
    connects=False,
)
