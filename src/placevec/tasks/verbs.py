"""The verbs as recipes know them: the options of each step, checked, and the function behind it."""

from __future__ import annotations

from collections.abc import Mapping

from placevec.tasks import verb_answers as answers
from placevec.tasks import verb_tables as tables
from placevec.tasks.run import Verb

VERBS: Mapping[str, Verb] = {
    "train": Verb(tables.train_step, tables.TrainOptions),
    "embed": Verb(tables.embed_step, tables.EmbedOptions),
    "augment": Verb(tables.augment_step, tables.AugmentOptions),
    "import": Verb(tables.import_step, tables.ImportOptions),
    "export": Verb(tables.export_step, tables.ExportOptions),
    "search": Verb(answers.search_step, answers.SearchOptions),
    "probe": Verb(answers.probe_step, answers.ProbeOptions),
    "evaluate": Verb(answers.evaluate_step, answers.EvaluateOptions),
    "cluster": Verb(answers.cluster_step, answers.ClusterOptions),
    "map": Verb(answers.map_step, answers.MapOptions),
}
