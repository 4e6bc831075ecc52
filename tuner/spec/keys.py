"""Unknown keys: what was meant by them, names that Ray and Optuna use among them."""

from __future__ import annotations

from collections.abc import Iterator

from tuner.spec import experiment as exp
from tuner.spec.draft import Draft, dotted
from tuner.spec.kinds import SomeScheduler, SomeSearch
from tuner.spec.loggers import SomeLogger
from tuner.spec.model import Model, Place, by_kind
from tuner.spec.words import closest, listed

SECTIONS: dict[str, type[Model]] = {
    "objective": exp.Objective, "budget": exp.Budget, "start": exp.Start,
    "resources": exp.Resources, "checkpoint": exp.Checkpoint,
    "watchdog": exp.Watchdog, "confirm": exp.Confirm,
}  # fmt: skip
LISTS = ("objective", "resources")
"""Sections that may be a list of mappings."""
KINDS = {"search": by_kind(SomeSearch), "scheduler": by_kind(SomeScheduler)}
LOGGERS = by_kind(SomeLogger)
DISTS: dict[str, type[Model]] = {"float": exp.Float, "int": exp.Int, "choice": exp.Choice}

MEANT: dict[str, str] = {
    **dict.fromkeys(("max_t", "max_epochs", "num_epochs", "n_epochs", "training_iteration"), "budget.epochs"),
    **dict.fromkeys(("num_samples", "n_trials", "max_trials_total"), "budget.trials"),
    **dict.fromkeys(("timeout", "time_budget_s", "max_hours"), "budget.hours"),
    **dict.fromkeys(("grace_period", "min_resource", "n_warmup_steps"), "scheduler.grace_epochs"),
    **dict.fromkeys(("eta", "halving_rate"), "scheduler.reduction_factor"),
    "perturbation_interval": "scheduler.interval_epochs",
    "quantile_fraction": "scheduler.quantile",
    "resample_probability": "scheduler.resample",
    "min_samples_required": "scheduler.min_trials",
    **dict.fromkeys(("n_startup_trials", "n_initial_points"), "search.startup"),
    **dict.fromkeys(("max_concurrent_trials", "max_concurrent", "n_jobs"), "resources.max_trials"),
    **dict.fromkeys(("cpu", "num_cpus", "cpus_per_trial"), "resources.cpus"),
    **dict.fromkeys(("gpu", "num_gpus", "gpus_per_trial"), "resources.gpus"),
    **dict.fromkeys(("num_workers", "world_size"), "resources.ranks"),
    **dict.fromkeys(("checkpoint_freq", "checkpoint_frequency"), "checkpoint.every"),
    "num_to_keep": "checkpoint.keep",
    **dict.fromkeys(("direction", "directions", "goal", "optimize", "optimise", "optimization"), "objective.mode"),
    **dict.fromkeys(("search_alg", "sampler", "searcher", "algorithm"), "search"),
    "pruner": "scheduler",
    **dict.fromkeys(("param_space", "search_space", "parameters", "params", "hyperparameters"), "space"),
    **dict.fromkeys(("points_to_evaluate", "enqueue"), "start.points"),
    **dict.fromkeys(("function", "objective_function", "model", "trainer"), "trainable"),
    **dict.fromkeys(("storage_path", "local_dir", "output_dir"), "storage"),
    **dict.fromkeys(("random_state", "random_seed"), "seed"),
}  # fmt: skip
MEANT_IN_SPACE = {
    **dict.fromkeys(("type", "distribution", "kind", "sampler"), "dist"),
    **dict.fromkeys(("min", "lower", "lb"), "low"),
    **dict.fromkeys(("max", "upper", "ub"), "high"),
    **dict.fromkeys(("choices", "categories", "options"), "values"),
    **dict.fromkeys(("condition", "if", "conditions"), "when"),
    "q": "step",
}
MEANT_DISTS = {
    **dict.fromkeys(("loguniform", "log_uniform", "logfloat"), "float"),
    **dict.fromkeys(("uniform", "quniform", "real", "double", "number", "range"), "float"),
    **dict.fromkeys(("randint", "lograndint", "integer", "uniform_int", "log_int"), "int"),
    **dict.fromkeys(("categorical", "enum", "options", "bool", "boolean"), "choice"),
}
MEANT_IN_LOGGER = {
    **dict.fromkeys(("tracking_uri", "url", "address", "server", "host"), "uri"),
    **dict.fromkeys(("experiment_name", "experiment_id"), "experiment"),
    **dict.fromkeys(("team", "user", "username"), "entity"),
    **dict.fromkeys(("type", "name", "logger"), "kind"),
}
MEANT_LOGGERS = {
    **dict.fromkeys(("w&b", "wb", "weights and biases", "weights & biases", "weights_and_biases"), "wandb"),
    **dict.fromkeys(("curves", "curves.csv", "file"), "csv"),
    **dict.fromkeys(("ml-flow", "ml_flow"), "mlflow"),
}
MEANT_KINDS = {
    **dict.fromkeys(("optuna", "bayes", "bayesian", "bayesopt", "hyperopt", "hebo"), "tpe"),
    **dict.fromkeys(("bohb", "dehb", "mobster", "ifbo", "dyhpo", "freeze-thaw", "freezethaw"), "auto"),
    **dict.fromkeys(("sha", "successive_halving", "successivehalving", "hb"), "asha"),
    **dict.fromkeys(("fifo", "null", "no", "off", "nop"), "none"),
    **dict.fromkeys(("pb2", "population"), "pbt"),
    **dict.fromkeys(("cma", "cma-es", "evolution"), "cmaes"),
    **dict.fromkeys(("nsgaii", "nsga-ii", "nsga", "nsgaiii", "genetic"), "nsga2"),
    **dict.fromkeys(("sobol", "halton"), "qmc"),
}
MEANT_IN = {
    "space": MEANT_IN_SPACE,
    "loggers": MEANT_IN_LOGGER,
    "scheduler": {**MEANT, **dict.fromkeys(("population", "population_size"), "budget.trials")},
}
MODES = {"maximize": "max", "maximise": "max", "maximum": "max", "minimize": "min", "minimise": "min", "minimum": "min"}


def check_keys(draft: Draft) -> None:
    """Report every unknown key, and go on as if the key that was meant stood there."""
    for place, model in _models(draft):
        for key in list(draft.mapping(*place)):
            if key not in model.model_fields:
                _unknown(draft, place, key, list(model.model_fields))


def model_of(draft: Draft, place: Place) -> type[Model] | None:
    """Tell which model a mapping in the YAML is read by; None where its kind is not known."""
    if not place:
        return exp.Experiment
    if len(place) == 2 and place[0] == "space":
        dist = str(draft.mapping(*place).get("dist"))
        return DISTS.get(MEANT_DISTS.get(dist, dist))
    section = str(place[0])
    if len(place) == 2 and section == "loggers":
        return LOGGERS.get(str(draft.mapping(*place).get("kind")))
    if len(place) == 2 and section in LISTS and isinstance(place[1], int):
        return SECTIONS[section]
    if len(place) == 1 and section in KINDS:
        return KINDS[section].get(str(draft.mapping(section).get("kind", exp.DEFAULT_KINDS[section])))
    return SECTIONS.get(section) if len(place) == 1 else None


def _models(draft: Draft) -> Iterator[tuple[Place, type[Model]]]:
    yield (), exp.Experiment
    for section in (*SECTIONS, *KINDS):
        if model := model_of(draft, (section,)):
            yield (section,), model
    for section in LISTS:
        if isinstance(listed := draft.get((section,)), list):
            yield from (((section, i), SECTIONS[section]) for i in range(len(listed)))
    if isinstance(loggers := draft.get(("loggers",)), list):
        places: list[Place] = [("loggers", i) for i in range(len(loggers))]
        yield from ((place, model) for place in places if (model := model_of(draft, place)))
    for name in draft.mapping("space"):
        _find_dist(draft, ("space", name))
        if model := model_of(draft, ("space", name)):
            yield ("space", name), model


def _find_dist(draft: Draft, place: Place) -> None:
    """Report `type: float` before `dist` is needed to know the other keys."""
    given = draft.mapping(*place)
    if "dist" not in given and (key := next((k for k in given if MEANT_IN_SPACE.get(k) == "dist"), None)):
        _unknown(draft, place, key, ["dist"])


def _unknown(draft: Draft, place: Place, key: str, known: list[str]) -> None:
    meant = None if _other_kinds(place, key) else _meant(draft, place, key, known)
    if (word := key.partition(" ")[0]) != key and word in known:
        _missing_colon(draft, place, key, word)
        return
    draft.refuse((*place, key), f"must be {_owner(draft, place)}, but got {key}", _fix(draft, place, key, meant, known))
    value = draft.get((*place, key))
    if meant in known and meant not in draft.mapping(*place):
        draft.rename((*place, key), (*place, meant))
        if isinstance(value, str) and value.lower() in MODES:
            draft.mapping(*place)[meant] = MODES[value.lower()]
    else:
        draft.mapping(*place).pop(key)


def _missing_colon(draft: Draft, place: Place, key: str, word: str) -> None:
    """Report `budget {trials: 4}`, and say nothing about a budget that is missing."""
    draft.refuse((*place, key), f"must be {_owner(draft, place)}, but got {key}", f"Write `{word}: `, with a colon.")
    draft.refused.add((*place, word))
    del draft.mapping(*place)[key]


def _meant(draft: Draft, place: Place, key: str, known: list[str]) -> str | None:
    """Name the key that was meant: of the same section, or with the dotted path of another."""
    table = MEANT_IN.get(str(place[0]), MEANT) if place else MEANT
    meant = table.get(key.lower())
    if meant and place and meant.startswith(f"{place[0]}."):
        meant = meant.partition(".")[2]
    if meant and (meant in known or "." in meant):
        return meant
    missing = [name for name in known if name not in draft.mapping(*place)]
    if match := closest(key, missing) or closest(key, known):
        return match
    return meant or _elsewhere(key)


def _other_kinds(place: Place, key: str) -> list[str]:
    """List the kinds of search, of scheduler or of dimension that do have a key."""
    section = str(place[0]) if place else ""
    kinds = {"space": DISTS, "loggers": LOGGERS, **KINDS}.get(section, {})
    return [kind for kind, model in kinds.items() if key in model.model_fields]


def _elsewhere(key: str) -> str | None:
    homes = [section for section, model in SECTIONS.items() if key in model.model_fields]
    homes += [section for section, kinds in KINDS.items() if any(key in m.model_fields for m in kinds.values())]
    if key in exp.Experiment.model_fields:
        return key
    return f"{homes[0]}.{key}" if homes and key not in ("kind", "seed") else None


def _fix(draft: Draft, place: Place, key: str, meant: str | None, known: list[str]) -> str:
    value = draft.get((*place, key))
    if key == "time_attr":
        return "Remove it: time is always counted in epochs."
    if kinds := _other_kinds(place, key):
        return f"Remove it, or use {_tag(place)} {listed(kinds)}, which {'has' if len(kinds) == 1 else 'have'} it."
    if meant is None:
        return f"Choose from {', '.join(known)}."
    if meant.endswith("mode") and isinstance(value, str):
        return f"Write {_short(place, meant)}: {MODES.get(value.lower(), value)}."
    if meant not in known:
        return f"Write {meant} instead."
    if meant in draft.mapping(*place) and closest(key, [meant]) is None:
        return f"Remove it: {meant} is given."
    return f"Did you mean {meant}?"


def _short(place: Place, meant: str) -> str:
    return "mode" if place[:1] == ("objective",) else meant


def _tag(place: Place) -> str:
    return "dist" if place[0] == "space" else "kind"


def _owner(draft: Draft, place: Place) -> str:
    """Describe the mapping: where its keys depend on a kind, say which kind and who chose it."""
    if not place:
        return "a key of the experiment"
    tag = _tag(place)
    value = draft.mapping(*place).get(tag)
    if place[0] not in ("space", "loggers", *KINDS) or value is None:
        return f"a key of {dotted(place)}"
    chosen = draft.where((*place, tag))
    source = f" (from {chosen})" if chosen.startswith("--set") else ""
    return f"a key of {dotted(place)} with {tag} {value}{source}"
