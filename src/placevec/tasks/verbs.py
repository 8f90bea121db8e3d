"""The verbs as recipes know them: the options of each step, checked, and the function behind it."""

from __future__ import annotations

from collections.abc import Mapping

from placevec.tasks import verb_answers as answers
from placevec.tasks import verb_features as describing
from placevec.tasks import verb_fuse as fusing
from placevec.tasks import verb_graph as graphs
from placevec.tasks import verb_landscape as landscape
from placevec.tasks import verb_locate as locating
from placevec.tasks import verb_measures as measures
from placevec.tasks import verb_photos as photographing
from placevec.tasks import verb_retrieval as retrieval
from placevec.tasks import verb_tables as tables
from placevec.tasks.run import Verb
from placevec.tasks.verb_options import hf_weights

VERBS: Mapping[str, Verb] = {
    "stencil": Verb(landscape.stencil_step, landscape.StencilOptions),
    "patches": Verb(landscape.patches_step, landscape.PatchesOptions),
    "graph": Verb(graphs.graph_step, graphs.GraphOptions),
    "photos": Verb(photographing.photos_step, photographing.PhotosOptions),
    "features": Verb(describing.features_step, describing.FeaturesOptions),
    "targets": Verb(describing.targets_step, describing.TargetsOptions),
    "train": Verb(tables.train_step, tables.TrainOptions, hf_weights),
    "embed": Verb(tables.embed_step, tables.EmbedOptions, hf_weights),
    "augment": Verb(tables.augment_step, tables.AugmentOptions),
    "fuse": Verb(fusing.fuse_step, fusing.FuseOptions),
    "import": Verb(tables.import_step, tables.ImportOptions),
    "export": Verb(answers.export_step, answers.ExportOptions),
    "index": Verb(retrieval.index_step, retrieval.IndexOptions, standing=retrieval.index_standing),
    "search": Verb(retrieval.search_step, retrieval.SearchOptions, hf_weights),
    "classify": Verb(retrieval.classify_step, retrieval.ClassifyOptions, hf_weights),
    "locate": Verb(locating.locate_step, locating.LocateOptions),
    "explain": Verb(retrieval.explain_step, retrieval.ExplainOptions, hf_weights),
    "probe": Verb(measures.probe_step, measures.ProbeOptions),
    "evaluate": Verb(measures.evaluate_step, measures.EvaluateOptions, hf_weights),
    "cluster": Verb(answers.cluster_step, answers.ClusterOptions),
    "map": Verb(answers.map_step, answers.MapOptions),
    "change": Verb(answers.change_step, answers.ChangeOptions),
}
