"""`run`: execute the steps of a recipe, but for those that are complete.

A step is complete if it was done with the same derivation key and its outputs are still what it made, in a store too.
The key is the digest of the verb, its options, the seed, the study area, the code version and the content of all
inputs. What was done stands in ``results/run.json`` of the folder.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from placevec import __version__
from placevec.area import StudyArea
from placevec.config import Recipe, Step, check_options, load_recipe, nearest, path_options
from placevec.engine.locks import Lock
from placevec.errors import JobError, PlacevecError, RecipeError, UsageError
from placevec.files import write_text
from placevec.objects import Place, Remote, is_remote, located
from placevec.provenance import digest_json
from placevec.sources.catalog import dataset_file
from placevec.tasks.digests import Digests

RESULTS = Path("results/run.json")
Note = Callable[[str], None]
StepProgress = Callable[[str, int, int, Mapping[str, Any]], None]
"""Called with the name of the step, and what `engine.work.Progress` is called with."""


@dataclass(frozen=True)
class Context:
    """What a step knows besides its options.

    Attributes:
        folder: the folder of the study area, or that in which the recipe runs; relative paths begin there.
        area: the study area, if there is one.
        recipe: the whole recipe.
        step: the name of the step.
        restart: whether the step was forced, or was complete with other options: leftovers of that run do not count.
        note: takes a line for people.
        progress: takes the rows done, all rows and counts.
    """

    folder: Path
    area: StudyArea | None
    recipe: Recipe
    step: str
    restart: bool
    note: Note
    progress: Callable[[int, int, Mapping[str, Any]], None]

    @property
    def seed(self) -> int:
        """The random seed of the recipe."""
        return self.recipe.seed

    def path(self, text: str) -> Path:
        """A path of the options, which begins in the folder unless it is absolute or of object storage (s3://).

        Of ``s3://`` a Path keeps one slash, which `objects.located` understands. ``dataset:NAME/FILE`` is a file of
        the catalogue.
        """
        named = dataset_file(text)
        if named is not None:
            return named
        return Path(text) if is_remote(text) else self.folder / text


@dataclass(frozen=True)
class Verb:
    """A verb that recipes can use.

    Attributes:
        function: called with the checked options and a `Context`; what it returns (a JSON object, a dataclass, an
            object with `to_record()`, or None) is kept as the summary of the step.
        options: the pydantic model of its options; paths in it are `config.InPath` and `config.OutPath`.
        identity: further JSON for the key, such as the hash of weights that an option names; called like `function`.
        standing: asked before a complete step is skipped, for what it made that is no file, such as the content of a
            server: why it has to be done again, "" if nothing is missing; called like `function`.
    """

    function: Callable[[Any, Context], Any]
    options: type[BaseModel]
    identity: Callable[[Any, Context], Any] | None = None
    standing: Callable[[Any, Context], str] | None = None


@dataclass(frozen=True)
class StepResult:
    """What became of a step: its name and verb, whether it was done or skipped, its key, time and summary."""

    name: str
    do: str
    state: str  # done | skipped
    key: str
    seconds: float = 0.0
    outputs: tuple[str, ...] = ()
    summary: Any = None

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return {**asdict(self), "outputs": list(self.outputs)}


@dataclass(frozen=True)
class RunSummary:
    """What became of a recipe."""

    recipe: str
    folder: Path
    steps: tuple[StepResult, ...]
    seconds: float

    @property
    def done(self) -> tuple[str, ...]:
        """The names of the steps that were executed."""
        return tuple(step.name for step in self.steps if step.state == "done")

    @property
    def skipped(self) -> tuple[str, ...]:
        """The names of the steps that were complete."""
        return tuple(step.name for step in self.steps if step.state == "skipped")

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        steps = [step.to_record() for step in self.steps]
        return {"recipe": self.recipe, "folder": str(self.folder), "seconds": self.seconds, "steps": steps}


def run(
    recipe: Recipe | str | Path,
    verbs: Mapping[str, Verb],
    *,
    area: StudyArea | None = None,
    folder: str | Path | None = None,
    smoke: bool = False,
    overrides: Mapping[str, Any] | None = None,
    from_step: str | None = None,
    force: bool = False,
    progress: StepProgress | None = None,
    note: Note | None = None,
) -> RunSummary:
    """Execute the steps of a recipe in order; skip those that are complete.

    Args:
        recipe: a recipe, or the path of one.
        verbs: the verbs by name.
        area: the study area; its folder is the one that relative paths begin in.
        folder: that folder, where there is no area that is kept; by default the recipe's own, else the current one.
        smoke: lay the `[smoke]` overlay over a recipe that is read from a path.
        overrides: values laid over it, see `config.load_recipe`.
        from_step: execute this step and all after it, complete or not.
        force: execute all steps.
        progress: called while a step works.
        note: called with a line on each step: why it is skipped or done, how long it took.

    Raises:
        RecipeError: a verb or option is unknown, or an input is neither there nor made by an earlier step. Nothing
            was executed then.
        JobError: another process runs a recipe in the folder.
        PlacevecError: of a step, with its name before the message; the steps before it stay complete.
    """
    began = time.monotonic()
    home = _home(recipe, area, folder)
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, smoke, overrides)
    elif smoke or overrides:
        raise UsageError("smoke and overrides are for a recipe that is read from a file: give its path")
    say = note or (lambda text: None)
    steps = [(step, _verb(step, verbs), _options(step, verbs)) for step in recipe.steps]
    if from_step is not None:
        recipe.step(from_step)
    _check_inputs(steps, home)
    runner = _Runner(recipe, home, area, say, progress)
    results: list[StepResult] = []
    forced = force
    with Lock(home / RESULTS.with_name(".run.lock"), f"the folder {home}"):
        runner.read()
        for step, verb, options in steps:
            forced = forced or step.name == from_step
            results.append(runner.step(step, verb, options, forced))
    return RunSummary(recipe.name, home, tuple(results), round(time.monotonic() - began, 3))


@dataclass
class _Runner:
    recipe: Recipe
    folder: Path
    area: StudyArea | None
    say: Note
    progress: StepProgress | None
    stored: dict[str, Any] = field(default_factory=dict)
    digests: Digests = field(default_factory=Digests)

    def read(self) -> None:
        path = self.folder / RESULTS
        try:
            self.stored = dict(json.loads(path.read_text()))
            self.digests = Digests(dict(self.stored["files"]))
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError):
            self.stored = {}
            self.say(f"{path} cannot be read: every step is done again")

    @property
    def records(self) -> dict[str, Any]:
        recipes = self.stored.setdefault("recipes", {})
        records: dict[str, Any] = recipes.setdefault(self.recipe.name, {})
        return records

    def write(self) -> None:
        self.stored["version"] = 1
        self.stored["files"] = self.digests.known
        write_text(self.folder / RESULTS, json.dumps(self.stored, indent=1, default=str) + "\n")

    def step(self, step: Step, verb: Verb, options: BaseModel, forced: bool) -> StepResult:
        label = f"step {step.name!r}" if step.name == step.do else f"step {step.name!r} ({step.do})"
        try:
            inputs = self._digests(options, "in")
            context = self._context(step, forced)
            identity = verb.identity(options, context) if verb.identity else None
            parts = self._parts(step, options, inputs, identity)
            key = digest_json(parts)[:32]
            record: dict[str, Any] | None = self.records.get(step.name)
            why = "it was asked for" if forced else self._why(record, key, parts)
            if not why and verb.standing is not None:
                gone = verb.standing(options, context)
                why = f"done again, {gone}" if gone else ""
            if record is not None and not why:
                self.say(f"{label}: skipped, complete since {record['finished']}")
                return StepResult(step.name, step.do, "skipped", key, 0.0, tuple(record["outputs"]), record["summary"])
            self.say(f"{label}: {why}")
            if record is not None and not forced:
                # What the complete step left of its run does not count either. Forgotten first, so that a kill from
                # here on leaves a step that is not done and goes on, not one that begins anew each time.
                context = self._context(step, True)
                del self.records[step.name]
                self.write()
            began = time.monotonic()
            summary = _plain(verb.function(options, context))
            seconds = round(time.monotonic() - began, 3)
            outputs = self._digests(options, "out")
        except PlacevecError as error:
            error.args = (f"{label}: {error}",)
            raise
        except Exception as error:
            error.add_note(f"in {label} of the recipe {self.recipe.name!r}")
            raise
        self.records[step.name] = {
            "do": step.do,
            "key": key,
            "parts": {name: digest_json(value)[:16] for name, value in parts.items()},
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seconds": seconds,
            "outputs": outputs,
            "summary": summary,
        }
        self.write()
        self.say(f"{label}: done in {seconds:.1f} s")
        return StepResult(step.name, step.do, "done", key, seconds, tuple(outputs), summary)

    def _context(self, step: Step, restart: bool) -> Context:
        return Context(self.folder, self.area, self.recipe, step.name, restart, self.say, self._reporter(step.name))

    def _parts(self, step: Step, options: BaseModel, inputs: dict[str, str], identity: Any) -> dict[str, Any]:
        area = self.area
        return {
            "verb": step.do,
            "options": options.model_dump(mode="json"),
            "seed": self.recipe.seed,
            "area": None if area is None else [area.name, area.boundary.wkb_hex, list(area.resolutions)],
            "code": __version__,
            "inputs": inputs,
            "weights": identity,
        }

    def _why(self, record: dict[str, Any] | None, key: str, parts: Mapping[str, Any]) -> str:
        """Why a step has to be done; "" if it is complete."""
        if record is None:
            return "not done yet"
        if record.get("key") != key:
            old = record.get("parts") or {}
            changed = [name for name, value in parts.items() if old.get(name) != digest_json(value)[:16]]
            return f"done again, changed since: {', '.join(changed) or 'the key'}"
        for path, digest in record["outputs"].items():
            found = self.digests.of(_place(self.folder, path))
            if found != digest:
                return f"done again, {path} {'is gone' if not found else 'was changed'}"
        return ""

    def _digests(self, options: BaseModel, role: Any) -> dict[str, str]:
        found = {}
        for paths in path_options(options, role).values():
            for text in paths:
                found[text] = self.digests.of(_place(self.folder, text)) or ("" if role == "in" else self._absent(text))
        return found

    def _absent(self, text: str) -> str:
        raise JobError(f"it ended, but did not make {text}: this is a defect of the verb")

    def _reporter(self, name: str) -> Callable[[int, int, Mapping[str, Any]], None]:
        def report(done: int, total: int, counts: Mapping[str, Any]) -> None:
            if self.progress is not None:
                self.progress(name, done, total, counts)

        return report


def _place(folder: Path, text: str) -> Place:
    return located(text) if is_remote(text) else folder / text


def _home(recipe: Recipe | str | Path, area: StudyArea | None, folder: str | Path | None) -> Path:
    if area is not None and area.folder is not None:
        return Path(area.folder)
    if folder is not None:
        return Path(folder)
    return Path() if isinstance(recipe, Recipe) else Path(recipe).parent


def _verb(step: Step, verbs: Mapping[str, Verb]) -> Verb:
    if step.do not in verbs:
        raise RecipeError(f"step {step.name!r} has the unknown verb {step.do!r}{nearest(step.do, verbs)}")
    return verbs[step.do]


def _options(step: Step, verbs: Mapping[str, Verb]) -> BaseModel:
    return check_options(step.options, verbs[step.do].options, f"step {step.name!r} ({step.do})")


def _check_inputs(steps: list[tuple[Step, Verb, BaseModel]], folder: Path) -> None:
    made: dict[Place, str] = {}
    for step, _, options in steps:
        for name, paths in path_options(options, "in").items():
            for text in paths:
                path = _place(folder, text)
                if path in made or isinstance(path, Remote) or _is_name(text) or path.exists():
                    continue
                if any(parent in made for parent in path.parents):
                    continue
                raise RecipeError(
                    f"step {step.name!r} ({step.do}): {name} = {text!r} is not there, and no earlier step makes it"
                    f"{nearest(text, _below(folder, made))}"
                )
        for paths in path_options(options, "out").values():
            for text in paths:
                path = _place(folder, text)
                if path in made:
                    raise RecipeError(f"steps {made[path]!r} and {step.name!r} both make {text}: give one another name")
                made[path] = step.name


def _below(folder: Path, made: Iterable[Place]) -> list[str]:
    return [str(one.relative_to(folder)) for one in made if isinstance(one, Path) and one.is_relative_to(folder)]


def _is_name(text: str) -> bool:
    """Whether an input may be no path: an address ("https://..."), "hf:..." or a name that the verb knows ("cells")."""
    return ":" in text or not ("/" in text or "." in text)


def _plain(value: Any) -> Any:
    if hasattr(value, "to_record"):
        value = value.to_record()
    elif is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    return json.loads(json.dumps(value, default=str))
