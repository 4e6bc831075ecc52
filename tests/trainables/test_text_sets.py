"""Texts and images from a CSV, a folder and Hugging Face's `datasets`; the set that comes with the project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from support import ROOT

from trainables import data, finetune
from trainables.data import debian_sections, pretrained
from trainables.data.download import DataError, MissingDataError
from trainables.data.task import read_task
from trainables.data.texts import Texts, read_texts

pytestmark = pytest.mark.usefixtures("folders")


def sizes(texts: Texts) -> dict[str, int]:
    return {split: len(rows) for split, rows in texts.texts.items()}


def test_a_csv_is_split_by_class_and_any_first_texts_are_too(tmp_path: Path) -> None:
    texts = read_texts(str(tiny.texts(tmp_path / "texts.csv", each=50)))
    assert texts.classes == sorted(tiny.WORDS)
    assert sizes(texts) == {"train": 90, "val": 30, "test": 30}
    for labels in (*texts.labels.values(), texts.labels["train"][:30]):
        assert set(Counter(labels.tolist()).values()) == {len(labels) // 3}
    known = {word: name for name, words in tiny.WORDS.items() for word in words.split()}
    assert all(
        known[line.split()[0]] == texts.classes[label]
        for split in texts.texts
        for line, label in zip(texts.texts[split], texts.labels[split], strict=True)
    )


def test_a_csv_may_say_which_split_a_text_is_in_and_name_its_columns(tmp_path: Path) -> None:
    rows = [
        "words,kind,split",
        *(f"{split} {i},{'ab'[i % 2]},{split}" for split in ("train", "validation") for i in range(8)),
    ]
    (tmp_path / "texts.csv").write_text("\n".join(rows))
    texts = read_texts(str(tmp_path / "texts.csv"), text="words", label="kind")
    assert sizes(texts) == {"train": 6, "val": 8, "test": 2}
    assert all(line.startswith("validation") for line in texts.texts["val"])
    assert not set(texts.texts["test"]) & set(texts.texts["train"])


def test_in_a_folder_each_subfolder_is_a_class(tmp_path: Path) -> None:
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
        for i in range(5):
            (tmp_path / name / f"{i}.txt").write_text(f"{name} {i}")
    texts = read_texts(str(tmp_path))
    assert texts.classes == ["bad", "good"]
    assert sizes(texts) == {"train": 6, "val": 2, "test": 2}


def test_a_saved_set_of_hugging_faces_keeps_its_splits_and_names(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    features = Features({"sentence": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    parts = {"train": [0, 1] * 10, "validation": [1, 0] * 3, "test": [-1] * 4}  # GLUE hides the labels of its tests
    DatasetDict({
        split: Dataset.from_dict({"sentence": [f"{split} {i}" for i in range(len(labels))], "label": labels}, features)
        for split, labels in parts.items()
    }).save_to_disk(tmp_path / "set")  # fmt: skip
    texts = read_texts(str(tmp_path / "set"), text="sentence")
    assert texts.classes == ["no", "yes"]
    assert sizes(texts) == {"train": 16, "val": 6, "test": 4}
    assert texts.labels["val"].tolist() == parts["validation"]
    with pytest.raises(DataError, match="must have a column 'text', but has sentence, label"):
        read_texts(str(tmp_path / "set"))


def test_texts_without_a_label_are_left_out_but_not_of_the_test_split(tmp_path: Path) -> None:
    lines = ["text,label,split", *(f"{i},{'ab'[i % 2]},{('train', 'val')[i % 3 == 0]}" for i in range(12))]
    lines += ["none,,train", "blank, ,val"]
    path = tmp_path / "texts.csv"
    path.write_text("\n".join(lines))
    texts = read_texts(str(path))
    assert texts.classes == ["a", "b"]
    assert not {"none", "blank"} & {line for rows in texts.texts.values() for line in rows}
    path.write_text("\n".join([*lines, "hidden,,test"]))
    with pytest.raises(DataError, match=r"texts\.csv:16: must have a label in column 'label', .* the test split"):
        read_texts(str(path))


@pytest.mark.parametrize("names", [("train", "validation", "dev"), ("train", "validation_matched", "test_matched")])
def test_two_splits_for_one_purpose_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    from datasets import Dataset, DatasetDict

    rows = Dataset.from_dict({"text": ["a", "b"], "label": ["no", "yes"]})
    DatasetDict(dict.fromkeys((*names, "unsupervised"), rows)).save_to_disk(tmp_path / "set")
    with pytest.raises(DataError, match=f"one split each .*, but has {', '.join(names)}, unsupervised. Save those"):
        read_texts(str(tmp_path / "set"))


def pictures(count: int, shift: int = 0) -> Any:
    return saved_as([np.full((10, 12), 9 * i + shift, np.uint8) for i in range(count)])


def saved_as(images: list[np.ndarray]) -> Any:
    from datasets import ClassLabel, Dataset, Features, Image

    rows = {"image": images, "kind": [i % 2 for i in range(len(images))]}
    return Dataset.from_dict(rows, Features({"image": Image(), "kind": ClassLabel(names=["even", "odd"])}))


def test_a_saved_set_of_images_is_one_for_all_trainables(tmp_path: Path) -> None:
    pictures(20).save_to_disk(tmp_path / "pictures")
    found = data.load(str(tmp_path / "pictures"), size=8)
    assert found.classes == ["even", "odd"]
    assert found.shape == (1, 8, 8)
    assert [len(part) for part in (found.train, found.val, found.test())] == [12, 4, 4]
    assert (found.train.images[:, 0, 0, 0] // 9 % 2 == found.train.labels).all()


def test_grey_images_among_coloured_ones_are_coloured_too(tmp_path: Path) -> None:
    grey = [np.full((8, 8), i, np.uint8) for i in range(19)]
    saved_as([np.zeros((8, 8, 3), np.uint8), *grey]).save_to_disk(tmp_path / "pictures")
    assert data.load(str(tmp_path / "pictures"), size=8).shape == (3, 8, 8)


@pytest.mark.parametrize("odd", [np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 900, np.uint16)])
def test_images_that_would_lose_something_are_refused(odd: np.ndarray, tmp_path: Path) -> None:
    saved_as([*(np.full((8, 8), i, np.uint8) for i in range(19)), odd]).save_to_disk(tmp_path / "pictures")
    with pytest.raises(DataError, match=r"must have 8 bits a channel, and be all grey or none, but one is of mode "):
        data.load(str(tmp_path / "pictures"), size=8)


@pytest.mark.parametrize(("own_test", "sizes"), [(True, (20, 6, 4)), (False, (16, 6, 4))])
def test_a_saved_set_of_images_keeps_its_splits(tmp_path: Path, own_test: bool, sizes: tuple[int, ...]) -> None:
    from datasets import DatasetDict

    parts = {"validation": pictures(6, 1), "train": pictures(20), **({"test": pictures(4, 2)} if own_test else {})}
    DatasetDict(parts).save_to_disk(tmp_path / "pictures")
    found = data.load(str(tmp_path / "pictures"), size=8)
    splits = (found.train, found.val, found.test())
    assert tuple(len(split) for split in splits) == sizes
    shifts = [set((split.images[:, 0, 0, 0] % 9).tolist()) for split in splits]
    assert shifts == [{0}, {1}, {2 if own_test else 0}]
    assert all((split.images[:, 0, 0, 0] // 9 % 2 == split.labels).all() for split in splits)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,kind\na,b\n", "must have a column 'label', but has text, kind"),
        ("text,label\na,b\nc,b\n", r"must have two classes at least, but column 'label' has \['b'\]"),
        ("text,label\na,b\nc,d\n", "must have texts with labels in each split, but val has none, and train has 2"),
        ("text,label,split\na,b,one\n", r":2: column 'split' must hold train, val, test, but got 'one'\. Give"),
        ("text;label\na;b\n", r"has text;label\. Separate the columns by commas, not by ';'\."),
        ("text,label\na,b\ncaf\xe9,b\n", r":3: must be UTF-8, but got the byte 0xe9\. Save it anew: iconv"),
        (f'text,label\na,b\n"{"long " * 30_000},b\n', r":3: must be a row of a CSV.*Close its quotation mark"),
    ],
)
def test_what_a_csv_lacks_is_said(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "texts.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=message):
        read_texts(str(tmp_path / "texts.csv"))


def test_a_path_that_is_none_says_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"got 'nope\.csv', and there is no {tmp_path}/nope\.csv\. Give its absolute"):
        read_texts("nope.csv")
    (tmp_path / "texts" / "good").mkdir(parents=True)
    (tmp_path / "texts" / "good" / "1.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match=r"good/1\.txt:1: must be UTF-8, but got the byte 0xe9"):
        read_texts("texts")


def test_images_are_no_texts() -> None:
    with pytest.raises(DataError, match="this model takes texts, but got 'digits', a set of images"):
        read_task(finetune.MINILM, "digits", "text", "label", None, 64)


def test_without_a_network_a_name_on_the_hub_says_what_folder_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(MissingDataError, match=r"got 'no/model'.*save_pretrained\(FOLDER\).*can be given here"):
        pretrained.config("no/model")
    with pytest.raises(MissingDataError, match=r"got 'no/data'.*save_to_disk\(FOLDER\) makes a folder"):
        read_texts("no/data")
    with pytest.raises(MissingDataError, match="there is no 'no_package'"):
        pretrained.place_of("package:no_package/model")


def test_a_batch_is_as_long_as_its_longest_text_and_holds_all_of_each(tmp_path: Path) -> None:
    task = read_task(finetune.MINILM, str(tiny.texts(tmp_path / "texts.csv")), "text", "label", None, 64)
    texts = read_texts(str(tmp_path / "texts.csv"))
    inputs, labels = task.train.__getitems__([0, 3, 5])
    assert inputs["attention_mask"].sum(1).max() == inputs["input_ids"].shape[1]
    tokenizer = pretrained.tokenizer(finetune.MINILM)
    read = tokenizer.batch_decode(inputs["input_ids"], skip_special_tokens=True)
    assert read == [texts.texts["train"][i] for i in (0, 3, 5)]
    assert labels.tolist() == texts.labels["train"][[0, 3, 5]].tolist()
    assert sorted(task.val.labels.tolist()) == sorted(texts.labels["val"].tolist())


def test_raw_texts_are_prepared_as_those_of_the_splits_were(tmp_path: Path) -> None:
    task = read_task(finetune.MINILM, str(tiny.texts(tmp_path / "texts.csv")), "text", "label", None, 16)
    lines = read_texts(str(tmp_path / "texts.csv")).texts["train"][:3]
    ours, theirs = task(lines), task.train.__getitems__([0, 1, 2])[0]
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert {tuple(rows.shape) for rows in task.example().values()} == {(2, 16)}
    with pytest.raises(DataError, match=r"must have the classes \['a', 'b'\] of the checkpoint, but has \['games',"):
        task.load_state_dict({"classes": ["a", "b"]})


def test_a_checkpoint_prepares_texts_by_itself(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, normalizers

    task, shorter = (
        read_task(finetune.MINILM, str(tiny.texts(tmp_path / "texts.csv")), "text", "label", None, longest)
        for longest in (16, 4)
    )
    torch.save(task.state_dict(), tmp_path / "task.pt")
    known = torch.load(tmp_path / "task.pt", weights_only=True)
    lines = ["Puzzle", "arcade chess " * 20]
    tokenizer = Tokenizer.from_str(known["tokenizer"])
    tokenizer.enable_padding(pad_id=known["padding"])
    ours, theirs = tokenizer.encode_batch(lines), task(lines)
    assert [one.ids for one in ours] == theirs["input_ids"].tolist()
    assert [one.attention_mask for one in ours] == theirs["attention_mask"].tolist()
    assert len(ours[0].ids) == known["max_length"] == 16
    shorter.load_state_dict(known)  # a clone may cut elsewhere
    tokenizer.no_padding()
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    with pytest.raises(DataError, match="model must have the tokenizer of the checkpoint, but has another"):
        task.load_state_dict({**known, "tokenizer": tokenizer.to_str()})


def test_images_come_as_the_model_knows_them(tmp_path: Path) -> None:
    task = read_task(str(tiny.resnet(tmp_path / "resnet")), "digits", "text", "label", 100, 64)
    grey = torch.full((2, 1, 8, 8), 51, dtype=torch.uint8)
    pixels = task.ready(grey, torch.device("cpu"))["pixel_values"]
    assert pixels.shape == (2, 3, 32, 32)
    assert pixels.flatten().tolist() == pytest.approx([(0.2 - 0.5) / 0.5] * pixels.numel(), abs=1e-5)
    known = task.state_dict()
    assert (known["mean"], known["std"], known["size"], known["channels"]) == ([0.5] * 3, [0.5] * 3, 32, 3)
    task.load_state_dict(known)
    with pytest.raises(DataError, match=r"model must have the mean of the checkpoint, \[0.1\], but has \[0.5, 0.5"):
        task.load_state_dict({**known, "mean": [0.1]})


def test_packages_are_chosen_one_of_a_source_and_no_line_twice() -> None:
    dump = "\n\n".join(
        f"Package: {name}\nSource: {source}\nSection: {section}\nDescription: {line}\n more of it"
        for name, source, section, line in [
            ("a", "one (1.2)", "games", "chess"), ("b", "one", "games", "chess, data"), ("c", "two", "mail", "Mail!"),
            ("d", "three", "python", "a language"), ("e", "four", "mail", "mail"),
        ]
    )  # fmt: skip
    chosen = debian_sections.choose(debian_sections.read(dump))
    assert [section for _, section in chosen] == ["games", "mail"]


def test_the_set_that_comes_along_is_what_it_says() -> None:
    texts = read_texts("debian-sections")
    assert texts.classes == sorted(debian_sections.SECTIONS)
    lines = [re.sub(r"\W+", " ", line).strip().lower() for rows in texts.texts.values() for line in rows]
    assert len(lines) == len(set(lines)) == 3459
    assert max(np.bincount(np.concatenate(list(texts.labels.values())))) <= debian_sections.EACH


FORKABLE = """
import sys
from trainables import finetune
from tuner.slot.zygote import forkable
finetune.warm_up(data=sys.argv[1])
assert forkable()
"""


@pytest.mark.slow
def test_after_the_warm_up_there_is_one_thread_so_trials_can_be_forked(tmp_path: Path) -> None:
    from datasets import Dataset

    rows = {"text": [f"{name} {i}" for i in range(10) for name in tiny.WORDS], "label": list(tiny.WORDS) * 10}
    Dataset.from_dict(rows).save_to_disk(tmp_path / "set")
    done = subprocess.run(
        [sys.executable, "-c", FORKABLE, str(tmp_path / "set")], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},  # as a slot sets them
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
