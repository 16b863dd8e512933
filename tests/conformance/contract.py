"""The API's description against what a running city answers: Schemathesis sends requests that fit it and requests that don't.

Every operation is tried by a stranger, a citizen and a holder of each role: none may find a server error, or an answer
that the description does not have. A stranger, a citizen and an admin send every edge of every parameter; the other roles, which
may call less than an admin, chosen requests only. Who signs out is signed out, so that comes last; of streams, which have no end,
the refusals are tried. Takes the city's folder (of `trangtien up`), the program, and how many chosen requests an operation gets
(default 5). What is sent is the same each time.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from city import City

AGENCY = "HEPCO"
ROLES = ["ioc.operator", "ioc.lead", "agency.officer", "agency.head", "finance.officer", "finance.approver", "admin"]
# Streams that this city opens to everybody, and to whoever signed in: they have tests of their own.
ENDLESS = {"anonymous": "^/ioc/v1/stream$"}
ENDLESS_SIGNED_IN = "^/(ioc|notifications)/v1/stream$"
SIGN_OUT = "sign_out"
AT_ONCE = 2
# How much of a report is shown, in characters.
MAX_REPORT = 20_000
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
    "negative_data_rejection",
    "missing_required_header",
    "use_after_free",
]


# Who sends every edge of every parameter.
THOROUGH = {"anonymous", "citizen", "admin"}


def callers(city: City):
    """Who asks: a name, and a token."""
    yield "anonymous", None
    yield "citizen", city.citizen()["access_token"]
    for role in ROLES:
        agency = ["--agency", AGENCY] if role.startswith("agency.") else []
        yield role, city.holder(role, *agency)


def broken(city: City, examples: str, name: str, token: str | None) -> bool:
    """Whether an answer to this caller is not as described: first of everything else, then of signing out."""
    rest = ["--exclude-path-regex", ENDLESS.get(name, ENDLESS_SIGNED_IN), "--exclude-operation-id", SIGN_OUT]
    found = [tried(city, examples, (name, token), which) for which in (rest, ["--include-operation-id", SIGN_OUT])]
    return any(found)


def tried(city: City, examples: str, caller: tuple[str, str | None], which: list[str]) -> bool:
    """Whether an answer of these operations is not as described; what and how is printed."""
    name, token = caller
    phases = "examples,coverage,fuzzing" if name in THOROUGH else "examples,fuzzing"
    bearer = ["--header", f"Authorization: Bearer {token}"] if token else []
    run = [
        Path(sys.executable).with_name("st"), "run", f"{city.url}/openapi.json", *bearer, *which,
        "--checks", ",".join(CHECKS), "--phases", phases, "--max-examples", examples,
        "--generation-deterministic", "--no-shrink", "--continue-on-failure", "--request-timeout", "20", "--workers", "1",
        "--no-color", "--warnings", "off",
    ]  # fmt: skip
    # It leaves what it sent in the folder that it is called from.
    with TemporaryDirectory() as folder:
        done = subprocess.run(run, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    # What Schemathesis itself can't do is in its report too, as an error.
    print(f"contract, {name}: broken\n{done.stdout[-MAX_REPORT:]}" if done.returncode else f"contract, {name}: holds", flush=True)
    return done.returncode != 0


def main() -> None:
    city, examples = City(Path(sys.argv[1]), sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "5"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = [pool.submit(broken, city, examples, name, token) for name, token in callers(city)]
    assert not any(one.result() for one in found), "the description and the answers differ"


if __name__ == "__main__":
    main()
