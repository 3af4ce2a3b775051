"""Prompt files on disk: read strictly, written whole or not at all, equal values as equal bytes."""

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
        If it cannot be read, or anything in it is not as the schema says; the message names the place in the file, what
        was expected and what came.
    """
    return parse_prompt_file(read_text_file(path, "a prompt file", PromptError), source=str(path))


def write_prompt_file(path: str | os.PathLike[str], prompt_file: PromptFile) -> None:
    """Write a prompt file, whole or not at all; equal values give equal bytes.

    Raises
    ------
    PromptError
        If `prompt_file` holds what could not be read back.
    OutputError
        If the place cannot be written.
    """
    write_whole(path, render_prompt_file(prompt_file))


def render_prompt_file(prompt_file: PromptFile) -> str:
    """The text of `prompt_file`, as :func:`write_prompt_file` writes it.

    Raises
    ------
    PromptError
        If it holds what could not be read back, for example a seed that is no whole number.
    """
    document = plain_json(prompt_file_document(prompt_file), "prompt file")
    prompt_file_from_node(Node(document, "prompt file"))  # never write what could not be read
    return render_json(document) + "\n"


def parse_prompt_file(text: str, *, source: str = "prompt file") -> PromptFile:
    """Read the text of a prompt file; `source` is what a message calls it.

    Raises
    ------
    PromptError
        As :func:`read_prompt_file`.
    """
    return prompt_file_from_node(Node(parse_json(text, source), source))
