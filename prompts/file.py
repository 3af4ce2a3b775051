"""Reading and writing of prompt files: strict, atomic, and with equal bytes for equal values."""

from __future__ import annotations

import os

from prompts.errors import PromptError
from prompts.json_text import parse_json, plain_json, render_json
from prompts.record import PromptFile, Provenance
from prompts.schema import SCHEMA_VERSION, prompt_file_document, prompt_file_from_node
from prompts.strict import Node
from prompts.text_file import read_text_file
from prompts.whole_file import write_whole

__all__ = [
    "SCHEMA_VERSION",
    "PromptFile",
    "Provenance",
    "parse_prompt_file",
    "read_prompt_file",
    "render_prompt_file",
    "write_prompt_file",
]


def read_prompt_file(path: str | os.PathLike[str]) -> PromptFile:
    """Read a prompt file.

    Raises
    ------
    PromptError
        If it cannot be read or does not follow the schema; the message states the place in the file, what was expected
        and what was found.
    """
    return parse_prompt_file(read_text_file(path, "a prompt file", PromptError), source=str(path))


def write_prompt_file(path: str | os.PathLike[str], prompt_file: PromptFile) -> None:
    """Write a prompt file atomically; equal values give equal bytes.

    Raises
    ------
    PromptError
        If `prompt_file` contains values that could not be read back.
    OutputError
        If the file cannot be written.
    """
    write_whole(path, render_prompt_file(prompt_file))


def render_prompt_file(prompt_file: PromptFile) -> str:
    """The text of `prompt_file`, as :func:`write_prompt_file` writes it.

    Raises
    ------
    PromptError
        If it contains values that could not be read back, for example a seed that is not a whole number.
    """
    document = plain_json(prompt_file_document(prompt_file), "prompt file")
    prompt_file_from_node(Node(document, "prompt file"))  # refuse what could not be read back
    return render_json(document) + "\n"


def parse_prompt_file(text: str, *, source: str = "prompt file") -> PromptFile:
    """Read the text of a prompt file; `source` is its name in messages.

    Raises
    ------
    PromptError
        As :func:`read_prompt_file`.
    """
    return prompt_file_from_node(Node(parse_json(text, source), source))
