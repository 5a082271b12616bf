"""A peer: the model as ``mlflow models serve`` runs it. MLflow reads this file, as a model from code."""

import json
import os
from pathlib import Path

from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from scripts.serving_benchmark.peer_wire import Forward, load_scorer, read_notes, write_codes


class CodingModel(PythonModel):  # type: ignore[misc]
    """Notes to codes, as MLflow asks for it."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the bundle that was stored with the model."""
        bundle = Path(context.artifacts["bundle"])
        self._scorer = load_scorer(bundle, forward=Forward.PADDED, num_threads=os.cpu_count() or 1)

    # MLflow would take a type of the table for a schema, and warn of one that is none.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Score every row of the input, which holds the notes of an encounter as JSON."""
        documents = [read_notes(json.loads(content)) for content in model_input["encounter"]]
        return [json.dumps(write_codes(codes)) for codes in self._scorer.score(documents)]


set_model(CodingModel())
