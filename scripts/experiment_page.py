"""docs/feedback.md and its plot, written from the results of the feedback experiment; no figure is typed by hand."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clinical_coding.artefact import publish, publish_path
from clinical_coding.code_library import ICD10CM_RELEASE, describe
from scripts.benchmark_results import Row
from scripts.experiment_design import ARMS, SPECIALTIES, Sizes
from scripts.experiment_statistics import NUM_RESAMPLES, SCOPES, Compared
from scripts.options import CONFIGS

if TYPE_CHECKING:
    from feedback.simulation.settings import Habit, SimulationSettings

__all__ = ["write_page"]

_DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
_PLOT: Final = "feedback-experiment.svg"
_BLUE, _ORANGE = "#0072B2", "#D55E00"

_PAGE: Final = """# What the feedback loop does, and what adjudication is worth

Written by `{command}`;
figures in [feedback-experiment.json](benchmarks/feedback-experiment.json).

## The loop

A coder's decision on a suggestion is kept as it was made. Where it differs from the suggestion, each code is an
override, and a case for a supervisor, who sees note, evidence and both answers and gives a verdict. `chartloop
feedback export` turns verdicts into training records: a code is positive or negative only where a verdict says so and
is named; all other codes of the encounter are unknown and masked in training. Base records are replayed beside them.
Coders' answers that nobody judged teach nothing.

## The question

Coders are mostly right, and some are wrong in the same way every time. Is the next version better when it learns from
adjudicated overrides, and what does it learn when the same overrides are taken at the coder's word?

## The design

For each of {num_seeds} seeds, with sample records of outpatient visits in {specialties}, other patients in every
part:

1. Version 1 learns from {base:,} base records ([configs/train-experiment.yaml](../configs/train-experiment.yaml)).
2. It suggests codes for {fresh:,} fresh encounters. {num_coders} simulated coders decide, each on a random share;
   {num_habits} of them have one wrong habit each, applied always
   ([configs/simulation.yaml](../configs/simulation.yaml)):

{habits}

   They miss {miss} of a suggestion's errors and override {false} of its right codes.
3. Supervisors, right in {accuracy} of verdicts, judge overrides through the real queue, within a weekly capacity.
4. *Adjudicated* learns from the base records and what the export gives. *Raw* learns from the same records and the
   same labelled codes, equal in number; of each labelled code the state alone is taken from the coder's final codes.
   Configuration, seed and order are the same. No audit draws are made, for either arm: audited records are complete
   and would teach more than overrides do.
5. All three are measured on {evaluation:,} further records, by code-over-code accuracy: correct / (correct + missed +
   wrong), over all codes, and over the codes on either side of a habit alone.

Sizes, rates and habits were chosen on other seeds, 900 and above, than those reported. Habits were put on frequent
codes that version 1 already suggests well: there overrides are seldom needed, so that a wrong habit makes up a large
part of them. On codes that version 1 suggests badly, right overrides outnumber a habit's, and raw training can gain
as well.

## Results

{num_labels:,} labels a seed on average, of which the coder's word differs from the verdict's on {num_differing:,};
supervisors found the coder wrong in {found_wrong:,} of {judged:,} overrides judged.

| code-over-code accuracy | {arms} |
|---|{rule}|
{accuracies}

| difference | value | 95% interval | seeds (standard deviation) |
|---|---|---|---|
{differences}

![Differences with their intervals, and each seed's](feedback-experiment.svg)

Intervals are paired bootstrap intervals: encounters are drawn with replacement within each seed, {num_resamples:,}
times, all versions on the same draw, and counts are added over seeds. They tell what other encounters would have
changed, for these trainings; how much other trainings, coders and patients would have changed is told by the spread
over seeds.

{verdict}

## What this does not show

- Records, coders and supervisors are invented. Real notes are harder, real errors are correlated with them, and
  nobody knows the truth.
- The habits and their share among coders are assumptions. With fewer such coders, or on codes that the model suggests
  badly, raw overrides harm less or help.
- Raw training here gets exactly the labels that were adjudicated. A system that takes every unreviewed answer for
  gold would learn more labels, and more errors.
- Adjudication costs a supervisor's time; what that time would have brought elsewhere is not compared.
- Accepted errors stay unseen here. Finding them is what random audits are for.
"""


def write_page(
    results: Sequence[dict[str, Any]], *, compared: Sequence[Compared], rows: Sequence[Row], sizes: Sizes
) -> Path:
    """Write the page and its plot.

    Args:
        results: Of ``run_seed``, one a seed.
        compared: All seeds together.
        rows: The figures as they are kept in the benchmark file.
        sizes: Numbers of records.

    Returns:
        The page's path.
    """
    from feedback.simulation.settings import load_simulation

    _plot(compared)
    facts = [result["facts"] for result in results]
    text = _PAGE.format(
        command=_command(results, sizes=sizes),
        num_seeds=len(results),
        specialties=_listed(sorted(name.replace("-", " ") for name in SPECIALTIES)),
        base=sizes.base,
        fresh=sizes.fresh,
        evaluation=sizes.evaluation,
        **_staff(load_simulation(CONFIGS / "simulation.yaml")),
        **_feedback(facts),
        arms=" | ".join(ARMS),
        rule="|".join("---" for _ in ARMS),
        accuracies="\n".join(_accuracy_line(rows, scope) for scope in SCOPES),
        differences="\n".join(_difference_line(one) for one in compared),
        num_resamples=NUM_RESAMPLES,
        verdict=_verdict(compared),
    )
    path = _DOCS / "feedback.md"
    with publish(path) as stream:
        stream.write(text)
    return path


def _command(results: Sequence[dict[str, Any]], *, sizes: Sizes) -> str:
    seeds = f"--seeds {len(results)} --first-seed {results[0]['seed']}"
    records = f"--base {sizes.base} --fresh {sizes.fresh} --evaluation {sizes.evaluation}"
    return f"python -m scripts.experiment_feedback {seeds} {records}"


def _staff(settings: "SimulationSettings") -> dict[str, object]:
    habits = [coder.habit for coder in settings.coders if coder.habit is not None]
    return {
        "num_coders": len(settings.coders),
        "num_habits": len(habits),
        "habits": "\n".join(f"   - {_habit(habit)}" for habit in habits),
        "miss": _range(coder.miss_rate for coder in settings.coders),
        "false": _range(coder.false_override_rate for coder in settings.coders),
        "accuracy": _range(supervisor.accuracy for supervisor in settings.supervisors),
    }


def _habit(habit: "Habit") -> str:
    title = describe(habit.system, habit.code, ICD10CM_RELEASE)
    named = f"{habit.code} ({title})" if title else f"{habit.system.upper()} {habit.code}"
    return f"{named} is left out" if habit.to is None else f"{named} becomes {habit.to}"


def _feedback(facts: Sequence[dict[str, Any]]) -> dict[str, object]:
    judged, found_wrong = Counter[str](), Counter[str]()
    for one in facts:
        judged.update(one["simulation"]["judged"])
        found_wrong.update(one["simulation"]["found_wrong"])
    return {
        "num_labels": round(statistics.mean(one["num_labels"] for one in facts)),
        "num_differing": round(statistics.mean(one["num_differing"] for one in facts)),
        "judged": judged.total(),
        "found_wrong": found_wrong.total(),
    }


def _accuracy_line(rows: Sequence[Row], scope: str) -> str:
    values = {row.metric: row.value for row in rows}
    return f"| {scope} | " + " | ".join(f"{values[f'{scope}: {arm}']:.3f}" for arm in ARMS) + " |"


def _difference_line(one: Compared) -> str:
    spread = statistics.stdev(one.by_seed) if len(one.by_seed) > 1 else 0.0
    seeds = ", ".join(f"{value:+.3f}" for value in one.by_seed)
    interval = f"{one.low:+.3f} to {one.high:+.3f}"
    return f"| {one.scope}: {one.arm} minus {one.over} | {one.difference:+.3f} | {interval} | {seeds} ({spread:.3f}) |"


def _verdict(compared: Sequence[Compared]) -> str:
    """Say of each comparison what its interval allows to say, and no more."""
    sentences = []
    for one in compared:
        clear = one.low > 0 or one.high < 0
        relation = ("above" if one.difference > 0 else "below") if clear else "not told apart from"
        sentences.append(f"- On {one.scope}, {one.arm} is {relation} {one.over}.")
    return "\n".join(sentences)


def _plot(compared: Sequence[Compared]) -> None:
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    for place, one in enumerate(reversed(compared)):
        colour = _BLUE if one.scope == SCOPES[0] else _ORANGE
        axes.plot([one.low, one.high], [place, place], color=colour, linewidth=2)
        axes.plot(one.difference, place, "o", color=colour)
        axes.plot(one.by_seed, [place - 0.25] * len(one.by_seed), "|", color=colour, alpha=0.7)
    names = [f"{one.scope}: {one.arm} minus {one.over}" for one in reversed(compared)]
    axes.set_yticks(range(len(names)), names)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("difference in code-over-code accuracy: all seeds with 95% interval; strokes, each seed")
    # The same figures give the same file.
    with matplotlib.rc_context({"svg.hashsalt": "chartloop"}), publish_path(_DOCS / _PLOT) as aside:
        figure.savefig(aside, format="svg", metadata={"Date": None})


def _range(rates: Iterable[float]) -> str:
    ordered = sorted(rates)
    low, high = (f"{rate:.0%}" for rate in (ordered[0], ordered[-1]))
    return low if low == high else f"{low} to {high}"


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
