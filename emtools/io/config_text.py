"""YAML files and sample sheets against a schema: every fault one line with file, key and remedy."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from emtools.errors import InputError

try:
    import yaml
    from jsonschema import Draft202012Validator, ValidationError
except ModuleNotFoundError as absent:
    raise InputError("workflow", f"package {absent.name} is absent", "", "pip install 'emtools[workflow]'") from absent

# It takes tabs that Snakemake's reader refuses, and fails where that one reads on.
FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DEEPEST = 2  # mappings within mappings that a config has; aliases could make exponentially many of more
EVALUATED, MERGED = "__use_yte__", "<<"
MISREAD = (ValueError, KeyError, IndexError, AttributeError)  # of a scalar that is not what its form or its tag says
YAML_INT = "tag:yaml.org,2002:int"
LONGEST_NUMBER = 1000  # characters
WHOLE = re.compile(r"[-+]?[0-9][0-9a-fA-FxXoO_:]*")  # of YAML, in any base
MOST_NESTED = 50  # levels of a YAML file; its reader recurses
SCATTERED = "for hmm (of a number of states) and motif alone"
NOUNS = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "array": "a list",
    "object": "a mapping of keys to values",
    "boolean": "true or false",
}


def read_yaml(path: Path) -> Any:
    """Content of a YAML file as Snakemake reads it, or one line about where it is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
        require_plain(path, text)
        with suppress(json.JSONDecodeError):
            return json.loads(text)
        return yaml.load(text, Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(path), "cannot be read", str(error), "check the path") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}: line {mark.line + 1}" if mark else str(path)
        raise InputError(
            place, f"not YAML: {getattr(error, 'problem', error)}", "", "mind spaces and colons"
        ) from error
    except MISREAD as error:
        line, word = misread(text)
        got = f"{show(word)} has the form of a date or a number, but is none"
        raise InputError(f"{path}: line {line}", got, "", "mend it, or put it in quotes") from error


def misread(text: str) -> tuple[int, str]:
    """Line and word of the first scalar of a YAML text that is not what its form says, such as a 45th of a month."""
    loader = yaml.SafeLoader(text)
    nodes, seen = [loader.get_single_node()], set()
    for node in nodes:
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            try:
                loader.construct_object(node)
            except MISREAD:
                return node.start_mark.line + 1, str(node.value)
        elif isinstance(node, yaml.CollectionNode):
            nodes += [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
    return 1, ""


def require_plain(path: Path, text: str | None = None) -> None:
    """Refuse what a YAML file must not hold, though its reader would take it.

    A key that stands twice in a mapping, of which YAML takes the later and says nothing; more levels than its reader can
    recurse into; and the key at which Snakemake evaluates what the file holds, as Python.

    Parameters
    ----------
    path : Path
        YAML file.
    text : str, optional
        Its content.

    Raises
    ------
    InputError
        With the line. What is no YAML is for its reader to tell.
    """
    content = path.read_text(encoding="utf-8") if text is None else text
    try:
        require_plain_events(path, yaml.parse(content, Loader=FAST))
    except yaml.YAMLError:
        with suppress(yaml.YAMLError):
            require_plain_events(path, yaml.parse(content, Loader=yaml.SafeLoader))


def require_plain_events(path: Path, events: Iterator[yaml.Event]) -> None:
    """The same for what a parser tells of the file."""
    within: list[tuple[set[str] | None, int]] = []  # keys of a mapping, or none of a list, and nodes seen in it
    for event in events:
        if isinstance(event, yaml.CollectionEndEvent):
            within.pop()
        if not isinstance(event, yaml.NodeEvent):
            continue
        place = f"{path}: line {event.start_mark.line + 1}"
        if within:
            keys, n_seen = within[-1]
            within[-1] = keys, n_seen + 1
            require_modest_number(event, place)
            if keys is not None and n_seen % 2 == 0 and isinstance(event, yaml.ScalarEvent):
                require_new(event.value, keys, place, len(within))
        if isinstance(event, yaml.CollectionStartEvent):
            if len(within) == MOST_NESTED:
                got = f"more than {MOST_NESTED} levels deep"
                raise InputError(place, got, "a config of four", "check the brackets")
            within.append((set() if isinstance(event, yaml.MappingStartEvent) else None, 0))


def require_modest_number(event: yaml.NodeEvent, place: str) -> None:
    """Refuse a number of so many digits that Python does not write it."""
    if not isinstance(event, yaml.ScalarEvent) or len(event.value) <= LONGEST_NUMBER:
        return
    if event.tag == YAML_INT or (event.implicit[0] and WHOLE.fullmatch(event.value)):
        got = f"{show(event.value)} is a number of {len(event.value):,} characters"
        raise InputError(place, got, f"at most {LONGEST_NUMBER:,}", "mend it, or put it in quotes")


def require_new(key: str, keys: set[str], place: str, level: int) -> None:
    """Add a key to those of its mapping, or raise where it may not stand there."""
    if key == EVALUATED and level == 1:
        got = "with this key Snakemake runs what the file holds as code, and has run it if it was started"
        raise InputError(f"{place}: {key}", got, "plain values", "remove it")
    if key in keys:
        got = f"the key {show(key)} stands twice in one mapping"
        raise InputError(place, got, "each key once", "rename or remove one of them")
    if key != MERGED:
        keys.add(key)


def target(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    """A node of the schema with its reference followed."""
    return schema["$defs"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node


def from_text(text: str, node: Mapping[str, Any]) -> Any:
    """A cell of a sheet as the schema wants it; text that does not fit stays text, for the schema to refuse."""
    kind = node.get("type", "")
    if kind == "array":
        return [word.strip() for word in text.split(",") if word.strip()]
    try:
        if kind == "boolean":
            return {"true": True, "false": False}[text.lower()]
        return int(text) if "integer" in kind else float(text) if "number" in kind else text
    except (ValueError, KeyError):
        return text


def validate(instance: Any, schema: Mapping[str, Any], source: str) -> None:
    """Raise for the first fault that the schema finds."""
    for path, key in odd_keys(instance):
        raise InputError(f"{source}: {'.'.join((*path, str(key)))}", f"the key is {kind_of(key)}", "a word", "quote it")
    found = Draft202012Validator(schema).iter_errors(instance)
    faults = sorted(found, key=lambda fault: fault.validator != "additionalProperties")
    if faults:
        error = explain(faults[0], source)
        more = f"(and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise InputError(error.where, error.got, error.expected, f"{error.remedy} {more}".strip())


def odd_keys(instance: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Keys that are not text, such as the numbers and booleans that YAML makes of bare words."""
    if isinstance(instance, Mapping):
        for key, value in instance.items():
            if isinstance(key, str):
                yield from odd_keys(value, (*path, key)) if len(path) < DEEPEST else ()
            else:
                yield path, key


def explain(fault: ValidationError, source: str) -> InputError:
    """A fault of the schema as a sentence."""
    keys = [str(part) for part in fault.absolute_path]
    value, need = fault.instance, fault.validator_value
    where = f"{source}: {'.'.join(keys)}" if keys else source
    match fault.validator:
        case "additionalProperties":
            known = list(fault.schema["properties"])
            key = next(key for key in value if key not in known)
            place = f"{source}: {'.'.join([*keys, str(key)])}"
            if key == "scatter" and "input" in known:
                return InputError(place, "its starts are not climbed in jobs of their own", SCATTERED, "remove it")
            close = difflib.get_close_matches(str(key), known, 1)
            remedy = f"did you mean {close[0]}?" if close else "remove it"
            return InputError(place, "unknown key", f"known here: {', '.join(known)}", remedy)
        case "required":
            key = next(key for key in need if key not in value)
            return InputError(where, f"the key {key} is missing", "", f"add {key}")
        case "dependentRequired":
            key = next(key for key in need if key in value and not set(need[key]) <= set(value))
            return InputError(f"{where}.{key}", f"given without {need[key][0]}", "", f"add {need[key][0]} or remove it")
        case "anyOf":
            names = [key for choice in need for key in choice["required"]]
            return InputError(where, f"{' and '.join(names)} are missing", "one of them", f"add {names[0]}")
        case "pattern" if "]-[" in need or "]+-[" in need:
            cured = f"write {value} without quotes" if str(value).isdigit() else "change it"
            return InputError(where, f"{show(value)} is not a range", "a whole number, or two such as 1-4", cured)
        case "pattern" if "auto" in need:
            return InputError(where, f"{show(value)} is not a number of types", "such as 8, 5-15 or auto", "change it")
        case "type":
            kinds = [need] if isinstance(need, str) else need
            expected = " or ".join(NOUNS[kind] for kind in kinds)
            return InputError(where, f"{show(value)} is {kind_of(value)}", f"{expected} is needed", cure(value, kinds))
        case "enum":
            close = difflib.get_close_matches(str(value), need, 1)
            remedy = f"did you mean {close[0]}?" if close else "choose one of them"
            return InputError(where, f"{show(value)} is not known", f"one of {', '.join(need)}", remedy)
        case "minimum":
            return InputError(where, f"{show(value)} is too small", f"at least {need}", "raise it")
        case "exclusiveMinimum":
            return InputError(where, f"{show(value)} is too small", f"more than {need}", "raise it")
        case "maximum":
            return InputError(where, f"{show(value)} is too large", f"at most {need:g}", "lower it")
        case "minItems":
            return InputError(where, "the list is empty", "", "name something or remove the key")
        case "pattern" if "A-Z" in need:
            return InputError(
                where,
                f"the name {show(value)} cannot be used",
                "a letter, then letters, digits, - and _, 100 at most",
                "rename it",
            )
        case _:
            return InputError(
                where,
                f"{show(value)} cannot be used",
                "a word or path without braces that does not begin with -",
                "rename it",
            )


def show(value: Any) -> str:
    """A value as a short quotation."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def kind_of(value: Any) -> str:
    """What YAML made of a value."""
    if value is None:
        return "empty"
    for kind, noun in ((bool, "boolean"), (str, "string"), (int, "integer"), (float, "number"), (list, "array")):
        if isinstance(value, kind):
            return NOUNS[noun]
    return NOUNS["object"] if isinstance(value, Mapping) else f"a {type(value).__name__}"


def cure(value: Any, kinds: list[str]) -> str:
    """What to write instead of a value of the wrong type."""
    if isinstance(value, str) and {"integer", "number"} & set(kinds):
        try:
            number = float(value)
        except ValueError:
            return "write a number"
        if "e" in value.lower() and "number" in kinds:
            mantissa, exponent = f"{number:.15e}".split("e")
            return f"write {float(mantissa)}e{int(exponent):+d} (YAML reads {value} as text)"
        return f"write {value} without quotes" if number.is_integer() or "number" in kinds else "write a whole number"
    if "array" in kinds and isinstance(value, (str, int, float)):
        return f"write [{value}]"
    if "string" in kinds and isinstance(value, (int, float)):
        return f'write "{value}"'
    return "see config/README.md"
