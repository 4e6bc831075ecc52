"""YAML text to plain values with the line of each, by the core rules of YAML 1.2.

PyYAML's own types are those of YAML 1.1, where `1e-4` is a string and `no` is false; only its parser is used here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from tuner.spec.model import Broken, Place
from tuner.spec.words import shown

MOST_NODES = 100_000
MOST_LEVELS = 50
_PLAIN, _QUOTED = "plain", "quoted"
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?\.(inf|Inf|INF))|\.(nan|NaN|NAN)")


class YamlError(Exception):
    """The text is no YAML that could be read on: one reason, and its line."""

    def __init__(self, line: int, what: str, fix: str) -> None:
        self.line, self.what, self.fix = line, what, fix
        super().__init__(what)


@dataclass
class Parsed:
    """The value of a text, the line of each key, and what is wrong with single values."""

    value: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Broken] = field(default_factory=list)


def parse(text: str) -> Parsed:
    """Read YAML text. Raises YamlError where nothing sensible can be read."""
    loader = None
    try:
        loader = _Composer(text)
        node = loader.get_single_node()
    except yaml.YAMLError as error:
        raise _syntax_error(error, text) from None
    finally:
        if loader is not None:
            loader.dispose()
    return _Builder().build(node)


class _Composer(yaml.SafeLoader):
    """PyYAML's parser without its types, and with an end to nesting and size."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.nodes = self.levels = 0

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _QUOTED
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.nodes += 1
        self.levels += 1
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        _check_size(self.nodes, self.levels, mark.line + 1)
        node = super().compose_node(parent, index)
        self.levels -= 1
        return node


class _Builder:
    """Nodes to values. Nodes are counted again here, since an alias repeats all that it names."""

    def __init__(self) -> None:
        self.parsed, self.nodes = Parsed(), 0

    def build(self, node: yaml.Node | None) -> Parsed:
        self.parsed.value = None if node is None else self._value(node, ())
        return self.parsed

    def _value(self, node: yaml.Node, place: Place, level: int = 1) -> Any:
        self.nodes += 1
        line = node.start_mark.line + 1
        _check_size(self.nodes, level, line)
        self.parsed.lines.setdefault(place, line)
        if isinstance(node, yaml.MappingNode) and node.tag == yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG:
            return self._mapping(node, place, level)
        if isinstance(node, yaml.SequenceNode) and node.tag == yaml.resolver.BaseResolver.DEFAULT_SEQUENCE_TAG:
            return [self._value(item, (*place, i), level + 1) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in (_PLAIN, _QUOTED):
            return self._scalar(node, place)
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        return self._broken(place, f"must be YAML without tags, but got {tag}", "Remove the tag.")

    def _mapping(self, node: yaml.MappingNode, place: Place, level: int) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = self._key(key_node, place)
            if key is None:
                continue
            if key in value:
                what = f"must be given once, but got it in line {self.parsed.lines[*place, key]} and in line {line}"
                self._broken((*place, key), what, "Remove one of them.")
                continue
            self.parsed.lines[*place, key] = line
            value[key] = self._value(value_node, (*place, key), level + 1)
        return value

    def _key(self, node: yaml.Node, place: Place) -> str | None:
        if _is_text(node):
            return str(node.value)
        text = node.value if isinstance(node, yaml.ScalarNode) else "a list or a mapping"
        self.parsed.lines[*place, text] = node.start_mark.line + 1
        if text == "<<":
            # At the mapping, not at the key: what would be merged is then not reported as missing.
            self._broken(place, "must have its own keys, but got a merge `<<`, which YAML 1.2 lacks", "Write them out.")
        else:
            what = f"must be a key that is a text, but got {text or 'null'}"
            self._broken((*place, text), what, "Name the key, or quote it.")
        return None

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Any:
        text = str(node.value)
        if node.tag == _QUOTED:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _LEADING_ZERO.fullmatch(text):
            digits = text.lstrip("+-0") or "0"
            return self._broken(place, f"must be a number without leading zeros, but got {text}",
                                f"Write {digits} for the number, '{text}' for the text.")  # fmt: skip
        if _INT.fullmatch(text):
            return self._int(text, place)
        if _FLOAT.fullmatch(text):
            return self._float(text, place)
        if _INFINITE.fullmatch(text):
            return float(text.replace(".", "").lower())
        return text

    def _int(self, text: str, place: Place) -> Any:
        number = int(text, 0 if text[:2] in ("0x", "0o") else 10) if len(text) < 100 else 2**64
        if -(2**63) <= number < 2**63:
            return number
        return self._broken(place, f"must be a whole number of 64 bits, but got {shown(text)[1:-1]}",
                            "Use a smaller number.")  # fmt: skip

    def _float(self, text: str, place: Place) -> Any:
        number = float(text)
        if abs(number) != float("inf"):
            return number
        return self._broken(place, f"must be a number of at most 1.7e308, but got {shown(text)[1:-1]}",
                            "Use a smaller number, or .inf where it is meant.")  # fmt: skip

    def _broken(self, place: Place, what: str, fix: str) -> Any:
        """Note a problem, and let null stand for the value."""
        self.parsed.problems.append(Broken(place, what, fix))
        return None


def _is_text(key: yaml.Node) -> bool:
    if not isinstance(key, yaml.ScalarNode) or key.tag not in (_PLAIN, _QUOTED):
        return False
    return isinstance(_Builder()._scalar(key, ()), str) and (key.tag == _QUOTED or key.value != "<<")


def _check_size(nodes: int, levels: int, line: int) -> None:
    if nodes > MOST_NODES:
        raise YamlError(line, f"must hold at most {MOST_NODES:,} values, aliases written out, but got more",
                        "Remove the aliases, or make the file smaller.")  # fmt: skip
    if levels > MOST_LEVELS:
        raise YamlError(line, f"must be nested at most {MOST_LEVELS} levels deep, but got more",
                        "Remove an alias that holds itself, or a bracket too many.")  # fmt: skip


def _syntax_error(error: yaml.YAMLError, text: str) -> YamlError:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, int(error.position)) + 1
        return YamlError(line, f"must be text, but got the control character {error.character:#04x}", "Remove it.")
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return YamlError(1, f"must be YAML, but got {error}", "Correct this line.")
    # What was opened and never closed is at fault where it was opened, not where the file ends.
    opened = error.context_mark if "while scanning a quoted" in (error.context or "") else None
    line = (opened or error.problem_mark).line + 1
    if tab := _tab_before(text, line):
        return YamlError(tab, "must be indented with spaces, but got a tab", "Replace the tab by two spaces.")
    reason, fix = _explained(error.problem or "")
    return YamlError(min(line, text.count("\n") + 1), f"must be YAML, but got {reason}", fix)


def _explained(problem: str) -> tuple[str, str]:
    for part, reason, fix in _REASONS:
        if part in problem:
            return reason, fix
    return problem, "Correct this line or the one before it."


_REASONS = [
    ("mapping values are not allowed", "a second `: ` in one value",
     "Quote the value, or look for a missing `:` in the line before."),
    ("expected ',' or '}'", "a `{` that is not closed", "Add a `}` or the missing comma."),
    ("expected ',' or ']'", "a `[` that is not closed", "Add a `]` or the missing comma."),
    ("could not find expected ':'", "a line without `: `", "Write `key: value`, with a space after the colon."),
    ("expected <block end>", "a line that is indented unlike its neighbours", "Indent it like the keys around it."),
    ("found unexpected end of stream", "a quote that is not closed", "Close the quote."),
    ("expected chomping or indentation", "a value that begins with `>` or `|`", 'Quote the value: ">= 5", say.'),
    ("found undefined alias", "an alias (`*name`) without its anchor (`&name`)", "Write the value out."),
    ("found duplicate anchor", "an anchor (`&name`) twice", "Rename one of them."),
    ("but found another document", "a second document (`---`)", "Keep one document."),
    ("cannot start any token", "a character that YAML keeps for itself (such as @ or %)", "Quote the value."),
]  # fmt: skip


def _tab_before(text: str, line: int) -> int | None:
    """Find the tab-indented line at which the parser stumbled, or one before it."""
    lines = text.split("\n")[:line]
    for number in range(len(lines), 0, -1):
        content = lines[number - 1]
        if content.strip() and "\t" in content[: len(content) - len(content.lstrip())]:
            return number
    return None
