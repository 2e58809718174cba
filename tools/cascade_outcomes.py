"""Join outcomes, recorded answers and answers of check models by prompt id, as ``evaluate --router cascade`` reads them.

    python tools/cascade_outcomes.py OUTCOMES RESPONSES --out FILE [--checks CHECKS --model NAME … --key COLUMN]

OUTCOMES has ``prompt_id, prompt, strong_score, weak_score``; RESPONSES has ``prompt_id, weak_response`` and perhaps token
counts; CHECKS has ``prompt_id`` (or the column of ``--key``), ``model`` and ``response``. The result has the columns of
OUTCOMES, ``weak_response``, the token counts, and in ``check_response`` a list with an answer of each model, null where it
has none.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

TOKENS = ("prompt_tokens_est", "strong_response_tokens_est", "weak_response_tokens_est")


def join(
    outcomes: pd.DataFrame,
    responses: pd.DataFrame,
    checks: pd.DataFrame | None,
    models: Sequence[str],
    key: str,
) -> pa.Table:
    """Return the outcomes with the weak answers, and with those of check models if there are any.

    Args:
        outcomes: a row for each prompt.
        responses: a row for each prompt, with ``weak_response``.
        checks: a row for each model and prompt; None for no check model.
        models: check models to take, in this order.
        key: column of ``checks`` that holds the prompt's id.

    """
    own = [name for name in ("weak_response", *TOKENS) if name in responses and name not in outcomes]
    joined = outcomes.merge(responses[["prompt_id", *own]], on="prompt_id", how="left", validate="one_to_one")
    table = pa.Table.from_pandas(joined, preserve_index=False)
    if checks is None or not models:
        return table
    columns = [checks[checks["model"] == model].drop_duplicates(key).set_index(key) for model in models]
    ids = joined["prompt_id"].tolist()
    answers = [[_cell(column, row, "response") for column in columns] for row in ids]
    table = table.append_column("check_response", pa.array(answers, pa.list_(pa.string())))
    if "response_tokens_est" in checks:
        tokens = [[_cell(column, row, "response_tokens_est") for column in columns] for row in ids]
        table = table.append_column("check_response_tokens_est", pa.array(tokens, pa.list_(pa.int64())))
    return table


def _cell(column: pd.DataFrame, row: Any, name: str) -> Any:
    value = column[name].get(row)
    return None if value is None or pd.isna(value) else value


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the files, join them and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("outcomes", metavar="OUTCOMES")
    parser.add_argument("responses", metavar="RESPONSES")
    parser.add_argument("--checks")
    parser.add_argument("--model", action="append", default=[], help="a check model; may be repeated")
    parser.add_argument("--key", default="prompt_id", help="column of CHECKS with the prompt's id")
    parser.add_argument("--out", required=True)
    given = parser.parse_args(arguments)
    checks = pd.read_parquet(given.checks) if given.checks else None
    table = join(
        pd.read_parquet(given.outcomes), pd.read_parquet(given.responses), checks, given.model, given.key
    )
    pq.write_table(table, given.out, compression="zstd")
    print(f"{table.num_rows:,} prompts → {given.out}")


if __name__ == "__main__":
    main()
