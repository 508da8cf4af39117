"""Calls the function of one step of the night."""

from __future__ import annotations

from jobs.config import NightConfig
from jobs.lake.lake import Lake
from jobs.run import Counts, Run


def execute(step: str, lake: Lake, run: Run, config: NightConfig) -> Counts:
    """Run the step of that name (`jobs.steps`) with its own settings; only its own code is imported."""
    match step:
        case "ingest":
            from jobs.ingest import step as ingest

            return ingest.execute(lake, run, config.ingest)
        case "sequences":
            from jobs.sequences import step as sequences

            return sequences.execute(lake, run, config.sequences)
        case "train":
            from jobs.train import step as train

            return train.execute(lake, run, config.train)
        case "embed":
            from jobs import embed

            return embed.execute(lake, run, config.embed)
        case "index":
            from jobs import index

            return index.execute(lake, run, config.index)
        case "lists":
            from jobs.lists import step as lists

            return lists.execute(lake, run, config.lists)
        case "audiences":
            from jobs.audiences import step as audiences

            return audiences.execute(lake, run, config.audiences)
        case "gate":
            from jobs.gate import step as gate

            return gate.execute(lake, run, config.gate)
        case "publish":
            from jobs.publish import step as publish

            return publish.execute(lake, run, config.publish)
        case "report":
            from jobs.report import step as report

            return report.execute(lake, run, config.report)
        case "clean":
            from jobs.clean import step as clean

            return clean.execute(lake, run, config.clean)
        case _:
            raise AssertionError(f"{step} is no step of the night")
