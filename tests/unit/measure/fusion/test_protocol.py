"""The nested protocol: what is chosen inside folds, fold tables judged where they saw nothing, and paired verdicts."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from fusion_fakes import town
from placevec.errors import DataError, LeakError, UsageError
from placevec.measure.baselines import FeatureSet
from placevec.measure.fusion import concatenated, fuse_plain
from placevec.measure.fusion.choose import chosen_inside, fusion_ridge, inner_losses
from placevec.measure.fusion.fold_tables import FoldTable, block_specs, fold_fit, split_of
from placevec.measure.fusion.protocol import FusionRow, FusionRules, measure_fusions
from placevec.measure.fusion.rings import ring_means
from placevec.measure.nested import Folds
from placevec.measure.probes import probe
from placevec.measure.ridge import nested_ridge
from placevec.measure.splits import block_split, random_split
from placevec.provenance import Saw

PLACE = town()
Y = np.log1p(PLACE.targets["jobs"])
KEYS = PLACE.cells.astype(str)
RULES = FusionRules("h3:8", 200.0, k=4, shuffles=2, draws=200)
CONCAT = concatenated(PLACE.blocks)[0]


def ridge(name: str, values: np.ndarray, role: str = "baseline") -> FusionRow:
    return FusionRow(name, role, FeatureSet(name, values, ("ridge",)))


MEAN = FusionRow("mean", features=FeatureSet("mean", None, ("mean",)), estimator="mean")


def measured(rows, rules=RULES, **more):
    return measure_fusions(rows, PLACE.lonlat, Y, KEYS, rules, **more)


class TestChoosing:
    def test_losses_are_those_of_ridges_fitted_one_by_one(self):
        folds = Folds(random_split(KEYS, 4, 0))
        alphas = np.array([0.1, 10.0, 1000.0])
        found = inner_losses(CONCAT, Y, folds, alphas)
        x = CONCAT.astype(np.float64)
        for fold in range(4):
            sums = np.zeros(len(alphas))
            for _, train, held in folds.inner(fold):
                for at, alpha in enumerate(alphas):
                    model = Ridge(alpha).fit(x[train], Y[train])
                    sums[at] += ((model.predict(x[held]) - Y[held]) ** 2).sum()
            assert found[fold] == pytest.approx(sums.min(), rel=1e-6)

    def test_test_rows_do_not_choose(self):
        folds = Folds(block_split(PLACE.lonlat, "h3:8", 4, 0, 200.0))
        test = folds.tests[1]
        other = Y.copy()
        other[test] = 99.0
        before, after = (inner_losses(CONCAT, y, folds)[1] for y in (Y, other))
        assert before == pytest.approx(after, rel=1e-12)

    def test_each_fold_takes_the_predictions_of_its_choice(self):
        folds = Folds(random_split(KEYS, 4, 0))
        fits = {name: nested_ridge(values, Y, folds) for name, values in {"a": CONCAT, "b": CONCAT[:, :2]}.items()}
        losses = {"a": np.array([1.0, 9.0, 1.0, 9.0]), "b": np.full(4, 5.0)}
        found = chosen_inside(fits, losses, folds)
        for fold, name in enumerate("abab"):
            test = folds.tests[fold]
            np.testing.assert_array_equal(found.prediction[test], fits[name].prediction[test])
            assert found.chosen[fold]["features"] == name

    def test_a_column_that_only_one_district_has_throws_no_row(self):
        """In training a trace of it is left; by its size there it would be blown up ten thousandfold in the test."""
        folds = Folds(block_split(PLACE.lonlat, "h3:8", 4, 0, 200.0))
        rare = np.zeros(len(Y))
        rare[folds.tests[0][:3]] = 5.0
        rare[folds.train(0)[0]] = 0.0005
        x = np.column_stack([CONCAT, rare])
        found, without = (fusion_ridge(one, Y, folds)[0].prediction[:, 0] for one in (x, CONCAT))
        assert np.abs(found - without).max() < 2.0
        assert np.abs(nested_ridge(x, Y, folds).prediction[:, 0] - without).max() < 2.0

    def test_the_right_number_of_rings_is_found(self):
        """The target is a mean over two rings of a column: every fold chooses two."""
        values = np.random.default_rng(0).standard_normal((len(Y), 3)).astype(np.float32)
        y = ring_means(values, PLACE.cells, 2)[:, 0].astype(np.float64)
        folds = Folds(random_split(KEYS, 4, 0))
        options = {f"{k}": ring_means(values, PLACE.cells, k) for k in (1, 2, 3)}
        losses = {name: inner_losses(x, y, folds) for name, x in options.items()}
        fits = {name: nested_ridge(x, y, folds) for name, x in options.items()}
        assert {one["features"] for one in chosen_inside(fits, losses, folds).chosen} == {"2"}


class TestReport:
    def test_rows_that_a_probe_has_too_are_scored_alike(self):
        rows = [MEAN, ridge("concat", CONCAT)]
        report = measure_fusions(rows, PLACE.lonlat, Y, np.arange(len(Y)), RULES)
        same = {"k": 4, "shuffles": 2, "block": "h3:8", "buffer_m": 200.0, "resample": "blocks", "draws": 200}
        peer = probe({}, PLACE.lonlat, Y, fixed={"concat": CONCAT}, estimators=("ridge",), **same)
        for split in ("random", "block"):
            own = {row.features: row for row in report if row.split == split}
            theirs = {row.features: row for row in peer if row.split == split}
            for name, other in (("mean", "mean"), ("concat", "concat · ridge")):
                for metric, interval in own[name].scores.items():
                    expected = tuple(theirs[other].scores[metric])
                    # Scales over all rows, not those of training alone, move a ridge a little.
                    near = {"abs": 1e-9} if name == "mean" else {"rel": 0.03, "abs": 0.005}
                    assert tuple(interval) == pytest.approx(expected, nan_ok=True, **near), (split, name, metric)
        for ours, other in zip(report.splits, peer.splits, strict=True):
            assert vars(ours) == pytest.approx(vars(other), nan_ok=True)

    def test_a_row_that_sees_more_beats_and_a_row_of_noise_loses(self):
        best = fuse_plain("ring-stack:1", PLACE.blocks, PLACE.cells)[0]
        noise = np.random.default_rng(0).standard_normal((len(Y), 4))
        learned = [ridge("ours", best, "learned"), ridge("noise", noise, "learned")]
        report = measured([MEAN, ridge("concat", CONCAT), *learned], versus=("mean", "absent"))
        rows = {row.features: row for row in report if row.split == "block"}
        assert rows["ours"].outcome == "beats"
        assert rows["ours"].rival == "concat"
        assert rows["noise"].outcome == "loses"
        assert set(rows["ours"].versus) == {"mean"}
        assert rows["concat"].against is None
        assert report.residuals.features == "ours"
        assert np.isfinite(report.residuals.values).all()
        json.loads(report.to_json())

    def test_no_learned_row(self):
        report = measured([MEAN, ridge("concat", CONCAT)], replace(RULES, splits=("random",), shuffles=1))
        assert {row.split for row in report} == {"random"}
        assert report.residuals.features == "concat"

    def test_progress_reaches_the_end(self):
        seen = []
        rows = [ridge("a", CONCAT), ridge("b", CONCAT[:, :2]), FusionRow("inside", among=("a", "b"))]
        measured(rows, progress=lambda label, done, total: seen.append((done, total)))
        assert seen[-1][0] == seen[-1][1]
        assert seen == sorted(seen)

    def test_faults(self):
        with pytest.raises(UsageError, match="two rows are called 'a'"):
            measured([ridge("a", CONCAT), ridge("a", CONCAT)])
        with pytest.raises(UsageError, match="choose of random and block"):
            measured([MEAN], replace(RULES, splits=("diagonal",)))
        with pytest.raises(DataError, match="too few for 200 folds"):
            measured([MEAN], replace(RULES, k=200))
        with pytest.raises(DataError, match="leaves no training row"):
            measured([MEAN], replace(RULES, buffer_m=1e6))


class TestFoldTables:
    """A fuser that writes the labels it saw into its vectors: perfect where it saw, and blind on its test fold."""

    def tables(self, buffer_m: float = 200.0, seed: int = 5) -> list[FoldTable]:
        split = block_split(PLACE.lonlat, "h3:8", 4, seed, buffer_m)
        made = []
        for fold in range(4):
            train, _ = split.pair(fold)
            vectors = np.random.default_rng(fold).standard_normal((len(Y), 3)) * 0.01
            vectors[train, 0] += Y[train]
            saw = Saw("", "jobs", split.spec, tuple(one for one in range(4) if one != fold))
            made.append(FoldTable(f"fold-{fold}", vectors, (saw,)))
        return made

    def test_only_the_blind_table_of_a_fold_is_scored(self):
        cheat = FusionRow("cheat", "learned", fold_tables=tuple(self.tables()))
        report = measured([MEAN, ridge("concat", CONCAT), cheat, replace(cheat, name="both", extra=CONCAT)])
        row = next(row for row in report if row.features == "cheat")
        assert {row.split for row in report if row.features == "cheat"} == {"block"}
        # One split by which it was made: one shuffle, and no trace of the labels that it wrote down.
        assert len(row.per_shuffle["r2"]) == 1
        assert row.scores["r2"].mean < 0.3
        assert row.outcome == "loses"
        assert [one["table"] for one in row.chosen[0]] == [f"fold-{fold}" for fold in range(4)]

    def test_the_folds_of_the_report_are_those_of_the_fuser(self):
        table = self.tables()[0]
        made = block_split(PLACE.lonlat, "h3:8", 4, 5, 200.0)
        found = split_of(table.specs[0], PLACE.lonlat, 100.0)
        np.testing.assert_array_equal(found.fold, made.fold)
        assert found.buffer_m == 100.0

    def test_tables_of_other_folds_are_refused(self):
        wrong = tuple(replace(one, saw=(replace(one.saw[0], folds=(0, 1, 2, 3)),)) for one in self.tables())
        with pytest.raises(LeakError, match="all 4 saw labels of the test rows of folds 0, 1, 2, 3"):
            measured([MEAN, FusionRow("cheat", "learned", fold_tables=wrong)])
        folds = Folds(block_split(PLACE.lonlat, "h3:8", 4, 11))
        assert fold_fit(self.tables(), Y[:, None], folds, PLACE.lonlat, KEYS) is None

    def test_folds_without_a_table_are_named_before_anything_is_fitted(self):
        told: list[str] = []
        with pytest.raises(LeakError, match="all 3 saw labels of the test rows of fold 3: give one table for each"):
            measured(
                [MEAN, FusionRow("part", "learned", fold_tables=self.tables()[:3])],
                progress=lambda what, done, total: told.append(what),
            )
        assert told == []

    def test_what_does_not_say_what_it_saw_is_refused(self):
        with pytest.raises(LeakError, match="does not say which folds"):
            block_specs([FoldTable("fold-0", CONCAT, ())])
        spec = random_split(KEYS, 4, 0).spec
        with pytest.raises(LeakError, match="random folds"):
            block_specs([FoldTable("fold-0", CONCAT, (Saw("", "jobs", spec, (1,)),))])

    def test_a_narrower_buffer_is_refused_and_other_places_too(self):
        spec = self.tables(buffer_m=50.0)[0].specs[0]
        with pytest.raises(LeakError, match="up to 50 m from test rows"):
            split_of(spec, PLACE.lonlat, 200.0)
        elsewhere = town(3)
        with pytest.raises(DataError, match="no measured cell lies in fold"):
            split_of(spec, elsewhere.lonlat, 0.0)
