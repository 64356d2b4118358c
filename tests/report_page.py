"""A page of `mrl-edge report` as a browser would read it: parsed HTML, and the rows that it is made of."""

import json
from html.parser import HTMLParser

import msgspec
from mrl_edge.bench.report import render
from mrl_edge.bench.report_devices import ResultsFile
from rows import measurement, results

DIMS = (8, 64, 384)
TRAINING = {
    "quality": {
        method: {str(dim): {"recall_at_10": base + dim / 1000} for dim in (384, 8, 64)}
        for method, base in (("mrl", 0.3), ("pca", 0.2), ("truncation", 0.1))
    }
}
ROWS = [
    measurement(precision, dim, encode_ms=ms, search_ms=0.2, rss_mb=rss, ndcg=dim / 500)
    for precision, ms, rss in (("int8", 1.2, 110), ("fp32", 3.0, 180))
    for dim in DIMS
]


class Page(HTMLParser):
    """Tags with their attributes, text by tag, scripts apart, and what the embedded JSON says."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.cells, self.scripts, self.headings, self._open = [], [], [], [], ""
        self.feed(content)
        self.data = json.loads(self.scripts[0])

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        if tag == "script":
            self._open = ""

    def handle_data(self, data):
        if self._open == "script":
            self.scripts[-1] += data
        elif data.strip():
            self.cells.append(data.strip())
            if self._open in ("h1", "h2", "h3", "h4", "h5"):
                self.headings.append(self._open)


def page_of(*files, **options):
    """The page of results, each of a file of its own."""
    named = [ResultsFile(f"device-{number}.json", one) for number, one in enumerate(files)]
    return Page(render(named, **options))


def on(name, *rows, cpu=None, **settings):
    """Results of another machine."""
    content = results(*rows)
    device = msgspec.structs.replace(content.device, name=name, cpu=cpu or f"cpu of {name}")
    return msgspec.structs.replace(content, device=device, settings={**content.settings, **settings})
