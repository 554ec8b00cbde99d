"""Receives the fuzz targets that `make fuzz` has built · runs each for a while and prints how far it is · owns the
folders in which libFuzzer keeps what it found, and the choice of what is kept in the repository.

What is found goes below the build directory; the corpora in the repository are only read. `--keep` (`make
fuzz-corpus`) takes over what reaches code that the seeds do not reach.
"""

from __future__ import annotations

import argparse
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
TARGETS = sorted(file.stem for file in (FOLDER / "fuzz_targets").glob("*.rs"))
# Bytes of one input: a little above the bounds that the target must reach.
LONGEST = {"http_front": 20_000, "shard": 1_500}
LONGEST_ELSE = 2_000
# An input that takes longer than this on the clock is a finding, as is one that needs more memory. All take
# milliseconds; the rest is for a machine that is busy with other things.
SECONDS_AN_INPUT = 30
MEBIBYTES = 2_048
# What libFuzzer says to a signal: the end of a campaign, and no finding.
INTERRUPTED = 72
PULSE = re.compile(
    r"#(?P<runs>\d+)\s+\w+\s+cov: (?P<coverage>\d+) ft: (?P<features>\d+) corp: (?P<corpus>\d+)/"
)
RUNS = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
KEPT = re.compile(r"[0-9a-f]{16}\.bin")


@dataclass
class Tally:
    """How far a target is."""

    target: str
    runs: int = 0
    coverage: int = 0
    corpus: int = 0
    seconds: float = 0.0
    processor_seconds: float = 0.0
    failed: bool = False

    def line(self) -> str:
        """The tally, as a line of a table."""
        pace = self.runs / self.seconds if self.seconds else 0.0
        end = f"{self.processor_seconds:.0f} s of processor time" if self.processor_seconds else ""
        end = "FOUND SOMETHING" if self.failed else end
        return (
            f"{self.target:<14}{self.seconds:>6.0f} s {self.runs:>12,} runs {pace:>9,.0f}/s "
            f"{self.coverage:>7,} edges {self.corpus:>6,} inputs  {end}".rstrip()
        )


class Campaign:
    """All that is known about one target's folders."""

    def __init__(self, binaries: Path, found: Path, target: str) -> None:
        self.binary = binaries / target
        self.target = target
        self.corpus = FOLDER / "corpus" / target
        self.found = found / "corpus" / target
        self.artifacts = found / "artifacts" / target
        self.log = found / f"{target}.log"
        for folder in (self.found, self.artifacts):
            folder.mkdir(parents=True, exist_ok=True)

    def run(self, seconds: int) -> Tally:
        """Fuzzes for `seconds`, with a line of progress every ten."""
        tally = Tally(self.target)
        longest = LONGEST.get(self.target, LONGEST_ELSE)
        command = [
            self.binary, self.found, self.corpus, f"-max_total_time={seconds}", f"-max_len={longest}",
            f"-timeout={SECONDS_AN_INPUT}", f"-rss_limit_mb={MEBIBYTES}", "-print_final_stats=1",
            f"-artifact_prefix={self.artifacts}/",
        ]  # fmt: skip
        began = told = time.monotonic()
        used = _processor_seconds()
        with (
            self.log.open("w") as log,
            subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as process,
        ):
            assert process.stderr is not None
            for line in process.stderr:
                log.write(line)
                if pulse := PULSE.match(line):
                    tally.runs = int(pulse["runs"])
                    tally.coverage, tally.corpus = int(pulse["coverage"]), int(pulse["corpus"])
                elif runs := RUNS.match(line):
                    tally.runs = int(runs[1])
                tally.seconds = time.monotonic() - began
                if time.monotonic() - told >= 10:
                    told = time.monotonic()
                    print(tally.line(), flush=True)
        tally.processor_seconds = _processor_seconds() - used
        if process.returncode == INTERRUPTED:
            sys.exit(f"{self.target} was interrupted")
        tally.failed = process.returncode != 0
        return tally

    def tell(self) -> None:
        """Says where a finding is and what to do with it."""
        print(f"\n{self.target}: the end of {self.log}", file=sys.stderr)
        sys.stderr.writelines(self.log.read_text(errors="replace").splitlines(keepends=True)[-40:])
        for artifact in sorted(self.artifacts.iterdir()):
            print(
                f"\n{self.target} fails on {artifact}\n"
                f"again:  {self.binary} {artifact}\n"
                f"keep:   cp {artifact} {FOLDER / 'regressions' / self.target}/<what-it-shows>.bin, then cargo test "
                "-p streamconductor-core --test corpora",
                file=sys.stderr,
            )

    def keep(self) -> None:
        """Replaces what was kept by the smallest inputs that together reach what the seeds do not."""
        seeds = [file for file in self.corpus.glob("*.bin") if not KEPT.fullmatch(file.name)]
        with tempfile.TemporaryDirectory() as name:
            merged, before = Path(name, "merged"), Path(name, "before")
            merged.mkdir()
            for seed in seeds:
                shutil.copy(seed, merged)
            # The old ones compete with the new.
            shutil.copytree(self.corpus, before)
            # By edges, not by how often each was passed: a tenth of the inputs for nearly all that they show.
            command = [self.binary, "-merge=1", "-use_counters=0", merged, before, self.found]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            for file in self.corpus.glob("*.bin"):
                if KEPT.fullmatch(file.name):
                    file.unlink()
            for file in merged.iterdir():
                if file.suffix != ".bin":
                    shutil.copy(file, self.corpus / f"{file.name[:16]}.bin")
        kept = list(self.corpus.glob("*.bin"))
        print(
            f"{self.target:<14}{len(kept):>6} inputs, {sum(file.stat().st_size for file in kept):>8,} bytes"
        )


def _processor_seconds() -> float:
    """What all targets so far have used: beside other work that is less than the time on the clock."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> int:
    """Runs the targets that were asked for; 1 when one of them found something."""
    parser = argparse.ArgumentParser(description="Runs fuzz targets one after the other.")
    parser.add_argument("--binaries", type=Path, required=True, help="where the built targets are")
    parser.add_argument("--found", type=Path, required=True, help="where to keep what is found")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--target", choices=TARGETS, help="only this one")
    parser.add_argument(
        "--keep", action="store_true", help="do not fuzz: take what was found into the corpora"
    )
    arguments = parser.parse_args()
    names = [arguments.target] if arguments.target else TARGETS
    campaigns = [Campaign(arguments.binaries, arguments.found, name) for name in names]
    if arguments.keep:
        for campaign in campaigns:
            campaign.keep()
        return 0
    tallies = []
    for campaign in campaigns:
        tally = campaign.run(arguments.seconds)
        tallies.append(tally)
        print(tally.line(), flush=True)
        if tally.failed:
            campaign.tell()
    print("\n".join(["", *(tally.line() for tally in tallies)]))
    return int(any(tally.failed for tally in tallies))


if __name__ == "__main__":
    sys.exit(main())
