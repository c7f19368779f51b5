"""Commands about tasks, decisions and resolutions."""

from __future__ import annotations

import time
from pathlib import Path
from shlex import quote

import click

from mseg_curate.cli.edge import FOLDER, add_aside, cli, now, say, store_option


@cli.group()
def task() -> None:
    """Ask what the masks of a class show."""


@task.command("make")
@store_option
@click.argument("name")
@click.option("--dataset", "dataset_name", required=True)
@click.option("--class", "source_class", required=True, help="The class that must be split.")
@click.option(
    "--redundancy",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Independent decisions wanted of each mask.",
)
@click.option(
    "--max-redundancy",
    type=click.IntRange(1),
    help="How many where they disagree.  [default: 2 more, of a redundancy of 2 or more]",
)
@click.option("--policy", default="majority", show_default=True, help="How votes are resolved.")
@click.option(
    "--instructions", default="", help="What annotators should know, in a sentence or two."
)
def task_make(
    db: Path,
    name: str,
    dataset_name: str,
    source_class: str,
    redundancy: int,
    max_redundancy: int | None,
    policy: str,
    instructions: str,
) -> None:
    """Find the masks of a class that must be split, and store the question."""
    from mseg_curate.store import Store
    from mseg_curate.tasks import TaskOptions, default_max_redundancy, make_task

    with Store.open(db) as store:
        made = make_task(
            store,
            name,
            dataset=dataset_name,
            source_class=source_class,
            options=TaskOptions(
                redundancy=redundancy,
                max_redundancy=max_redundancy or default_max_redundancy(redundancy),
                policy=policy,
                instructions=instructions,
            ),
            now=now(),
        )
    say(
        f"task {name}: {made.task.masks:,} masks in {made.images:,} images ({made.area_px:,} px); "
        f"candidates {', '.join(made.task.candidates)}"
    )
    say(
        "next: mseg-curate review; "
        f"`mseg-curate task describe {quote(name)} FILE` tells annotators what the candidates are"
    )


@task.command("show")
@store_option
@click.argument("name")
@click.option(
    "--contested", is_flag=True, help="Only contested masks, for a curator to adjudicate."
)
def task_show(db: Path, name: str, contested: bool) -> None:
    """Print the masks of a task as a CSV file of decisions, to be filled in and imported.

    Rows whose outcome is left empty are passed over by `decisions import`.
    """
    import sys

    from mseg_curate.store import Store
    from mseg_curate.tasks import write_questions

    with Store.open(db) as store:
        count = write_questions(store, name, out=sys.stdout, contested=contested)
    if not count:
        add_aside(f"no mask of {name} is contested")


@task.command("list")
@store_option
def task_list(db: Path) -> None:
    """List the tasks."""
    from mseg_curate.store import Store
    from mseg_curate.tasks import all_tasks

    with Store.open(db) as store:
        found = all_tasks(store)
    if not found:
        add_aside(
            "no task yet; make one: mseg-curate task make NAME --dataset DATASET --class CLASS"
        )
    for row in found:
        say(f"{row.name}\t{row.dataset}\t{row.source_class}\t{row.masks} masks\t{row.status}")


@cli.group()
def decisions() -> None:
    """Bring decisions in and out, and check them."""


@decisions.command("import")
@store_option
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--simulated", is_flag=True, help="The annotators of the CSV file are simulated, not people."
)
def decisions_import(db: Path, source: Path, simulated: bool) -> None:
    """Import decisions: a CSV file, MSeg's published ones, or a checkout of mseg-api."""
    from mseg_curate.decide import import_csv, import_published
    from mseg_curate.store import Store

    with Store.open(db) as store:
        if source.is_dir():
            done = import_published(store, source, now=now())
        else:
            kind = "simulated" if simulated else "person"
            done = import_csv(store, source, kind=kind, now=now())
    known = done.read - done.new
    say(f"{done.new:,} decisions imported, {known:,} were there already")
    if done.unanswered:
        say(f"  {done.unanswered:,} rows have no outcome yet and were passed over")
    if done.new:
        say("next: mseg-curate resolve")


@decisions.command("export")
@store_option
@click.option("--task", "task_name", help="Only decisions on the masks of this task.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    default=Path("-"),
    show_default=True,
    help="The file; - is the standard output.",
)
def decisions_export(db: Path, task_name: str | None, out: Path) -> None:
    """Write every decision as a CSV file, with all that agreement and accuracy are reckoned from."""
    import sys

    from mseg_curate.export_decisions import export_decisions, write_decisions
    from mseg_curate.store import Store

    with Store.open(db) as store:
        if str(out) == "-":
            write_decisions(store, task=task_name, out=sys.stdout)
        else:
            count = export_decisions(store, out, task=task_name)
            say(f"{out}: {count:,} decisions")


@decisions.command("simulate")
@store_option
@click.argument("task_name", metavar="TASK")
@click.option("--truth", type=FOLDER, required=True, help="Label maps with the true classes.")
@click.option("--accuracy", type=float, required=True, help="Share of right decisions, 0 … 1.")
@click.option("--annotators", type=click.IntRange(1), default=3, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def decisions_simulate(
    db: Path, task_name: str, truth: Path, accuracy: float, annotators: int, seed: int
) -> None:
    """Let simulated annotators of a stated accuracy decide every mask of TASK."""
    from mseg_curate.simulate import simulate_annotators
    from mseg_curate.store import Store

    with Store.open(db) as store:
        done = simulate_annotators(
            store,
            task_name,
            truth=truth,
            accuracy=accuracy,
            annotators=annotators,
            seed=seed,
            now=now(),
        )
    say(
        f"{done.votes:,} simulated decisions on {done.masks:,} masks, "
        f"{done.right / max(done.votes, 1):.1%} of them right; {done.new:,} new"
    )
    say("next: mseg-curate resolve")


@decisions.command("verify")
@store_option
def decisions_verify(db: Path) -> None:
    """Recompute the hash chain of the decisions: none was changed, or taken out from between others."""
    from mseg_curate.decide import verify_decisions
    from mseg_curate.store import Store

    with Store.open(db) as store:
        count = verify_decisions(store)
    say(f"{count:,} decisions, the hash chain holds")


@cli.command()
@store_option
@click.option(
    "--policy",
    "policy_text",
    metavar="TEXT",
    help="majority, weighted or dawid_skene, with its parameters, for all masks; without it each task's own.",
)
@click.option("--min-agreement", type=click.FloatRange(0, 1), help="A majority of this share.")
@click.option("--as-of", type=int, help="Look at the decisions up to this id only.")
def resolve(
    db: Path, policy_text: str | None, min_agreement: float | None, as_of: int | None
) -> None:
    """Derive what each mask is from its decisions, under a policy; ties are contested."""
    from mseg_curate.core.consensus import parse_policy
    from mseg_curate.resolve import resolve_masks
    from mseg_curate.steer import finish_changes
    from mseg_curate.store import Store

    policy = None if policy_text is None else parse_policy(policy_text)
    with Store.open(db) as store:
        finish_changes(store, now=time.time())
        done = resolve_masks(store, policy=policy, min_agreement=min_agreement, as_of=as_of)
    say(
        f"as of decision {done.as_of_decision}: {done.resolved:,} masks resolved, "
        f"{done.contested:,} contested, {done.ignored:,} ignored, "
        f"{done.open:,} open under the quorum ({done.policy})"
    )
    if done.resolved and as_of is None:
        say("next: mseg-curate export --arm relabeled --out FOLDER")
    elif not done.as_of_decision:
        say("next: mseg-curate review, or mseg-curate decisions import FILE")
