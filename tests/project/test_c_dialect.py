"""One dialect of C in the whole tree, where clang-format cannot tell: names and typedefs."""

import re
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parent.parent.parent / "csrc"
SOURCES = sorted(CSRC.rglob("*.[ch]"))
# Of the system and of libcurl, whose names are theirs.
FOREIGN = {
    "PyModuleDef", "curl_msg", "curl_slist", "curl_sockaddr", "curl_version", "epoll_event",
    "itimerspec", "kevent", "sockaddr", "sockaddr_in", "sockaddr_in6", "tcp_info", "timespec",
}  # fmt: skip


def code(source: Path) -> str:
    return re.sub(r"/\*.*?\*/", "", source.read_text(), flags=re.DOTALL)


def exported(header: Path) -> set[str]:
    """What a header declares: types, functions, macros, constants."""
    text = code(header)
    types = re.findall(r"^(?:typedef struct \w+|typedef enum \w+|\}) (\w+);", text, flags=re.M)
    functions = re.findall(
        r"^(?:static inline |extern )?[A-Za-z_][\w ]*[ *](\w+)\([^;{]*\)\s*[;{]", text, flags=re.M
    )
    macros = re.findall(r"^#define (\w+)", text, flags=re.M)
    return {*types, *functions, *macros, *enumerators(text)}


def enumerators(text: str) -> list[str]:
    bodies = re.findall(r"\benum(?: \w+)? \{([^}]*)\}", text)
    return [name for body in bodies for name in re.findall(r"(?:^|,)\s*(\w+)", body)]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(CSRC)))
def test_a_struct_is_named_by_its_typedef(source: Path) -> None:
    text = code(source)
    assert not re.search(r"typedef (struct|enum) \{", text), f"{source.name}: a type has no tag"
    for match in re.finditer(r"(typedef )?\b(struct|enum) (\w+)\b( \{)?", text):
        declared, _, name, defined = match.groups()
        own = text.rfind(f"struct {name} {{", 0, match.start())
        within = own >= 0 and text.find("\n}", own) > match.start()
        tagged = re.match(r"\w*Object$", name) is not None and defined
        assert declared or within or name in FOREIGN or tagged, f"{source.name}: {match.group()}"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(CSRC)))
def test_a_pointer_is_compared_with_null(source: Path) -> None:
    """By the names that this tree gives to pointers; braces and layout are clang-format's."""
    pointers = set(re.findall(r"\*(?:const )?(\w+)(?= =|;|,|\))", code(source)))
    scalars = set(re.findall(r"\b(?:bool|u?int\w*|size_t|double|long|char) (\w+)\b", code(source)))
    for name in re.findall(r"(?:if|while) \(!?(\w+)\)", code(source)):
        assert name not in pointers - scalars, f"{source.name}: {name} is a pointer"


@pytest.mark.parametrize(
    "header", [each for each in SOURCES if each.suffix == ".h"], ids=lambda path: path.name
)
def test_names_in_headers_have_the_prefix(header: Path) -> None:
    free = {"PY_SSIZE_T_CLEAN", "CURL", "CURLM"}
    foreign = () if header.name != "curl.h" else ("CURL", "CURLE_", "CURLM_", "CURLMSG_")
    for name in exported(header) - free:
        pythonic = re.fullmatch(r"[A-Z][a-z]\w*Object", name)
        assert name.startswith(("xf_", "XF_", *foreign)) or pythonic, f"{header.name}: {name}"


def test_no_name_means_one_thing_in_the_core_and_another_in_net() -> None:
    declared: dict[str, set[str]] = {}
    for header in (each for each in SOURCES if each.suffix == ".h"):
        side = "http" if header.parent.name in ("net", "http") else "core"
        for name in exported(header) - {"PY_SSIZE_T_CLEAN"}:
            declared.setdefault(name, set()).add(side)
    assert [name for name, sides in declared.items() if len(sides) > 1] == []
