# openmetrics.py: a strict reader of OpenMetrics 1.0 text.
# SPDX-License-Identifier: Apache-2.0
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(r"^(%s)(?:\{(%s(?:,%s)*)?\})? (\S+)$"
                    % (NAME, LABEL, LABEL))
SUFFIXES = {"counter": ("_total",), "gauge": ("",),
            "histogram": ("_bucket", "_count", "_sum")}


class Family:
    def __init__(self, name):
        self.name = name
        self.type = self.unit = self.help = None
        self.samples = {}  # (sample name, labels) -> value


def labels_of(text):
    found = re.findall(r'([a-zA-Z0-9_]+)="((?:[^"\\\n]|\\.)*)"', text or "")
    names = [name for name, _ in found]
    assert len(set(names)) == len(names), text
    return tuple(sorted(found))


def take_meta(family, line):
    kind, _, rest = line[2:].partition(" ")
    value = rest.partition(" ")[2]
    assert not family.samples, "metadata after samples: " + line
    assert kind in ("TYPE", "UNIT", "HELP"), line
    assert getattr(family, kind.lower()) is None, "twice: " + line
    if kind == "TYPE":
        assert value in SUFFIXES, line
    if kind == "UNIT":
        assert family.name.endswith("_" + value), line
    setattr(family, kind.lower(), value)


def take_sample(family, line):
    match = SAMPLE.match(line)
    assert match, line
    name, labels, value = match.groups()
    assert family and family.type, "no TYPE before " + line
    assert name in [family.name + s for s in SUFFIXES[family.type]], line
    number = float(value)
    key = (name, labels_of(labels))
    assert key not in family.samples, "twice: " + line
    if family.type != "gauge":
        assert number >= 0, line
    family.samples[key] = number


def check_histogram(family):
    bounds = []
    for (name, labels), value in family.samples.items():
        if name.endswith("_bucket"):
            bounds.append((float(dict(labels)["le"]), value))
    assert bounds == sorted(bounds), "bounds out of order"
    counts = [value for _, value in bounds]
    assert counts == sorted(counts), "buckets are to be cumulative"
    assert bounds[-1][0] == float("inf")
    assert counts[-1] == family.samples[(family.name + "_count", ())]
    assert (family.name + "_sum", ()) in family.samples


def parse(text):
    """{family name: Family}; asserts whatever the standard asks for."""
    assert text.endswith("# EOF\n") and "\r" not in text
    lines = text.split("\n")
    assert lines[-2:] == ["# EOF", ""] and "# EOF" not in lines[:-2]
    families, family = {}, None
    for line in lines[:-2]:
        if line.startswith("# "):
            name = line.split(" ")[2]
            if family is None or family.name != name:
                assert name not in families, "families interleave: " + line
                family = families[name] = Family(name)
            take_meta(family, line)
        else:
            take_sample(family, line)
    for family in families.values():
        assert family.type and family.help
        if family.type == "histogram":
            check_histogram(family)
    return families


def value(families, name, **labels):
    """One sample, whatever its family."""
    for family in families.values():
        key = (name, tuple(sorted(labels.items())))
        if key in family.samples:
            return family.samples[key]
    raise KeyError((name, labels))
