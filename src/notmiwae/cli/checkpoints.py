"""An interrupted training is kept beside the output, and taken up again with --resume."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from notmiwae.cli.mistakes import UsageError


@contextmanager
def checkpoints(args: argparse.Namespace) -> Iterator[Path | None]:
    """Give a folder for checkpoints, which stays if the command is interrupted.

    None where the output has no place of its own: standard output.
    """
    if args.to_pipe:
        if args.resume:
            raise UsageError("--resume needs an --output that is a file: its training is beside it")
        yield None
        return
    folder = args.output.with_name(f"{args.output.name}.checkpoint")
    if not args.resume:
        discard(folder)
    elif not folder.is_dir():
        raise UsageError(
            f"--resume finds no interrupted training in {folder}: leave --resume out, or give the "
            "--output that was given before"
        )
    try:
        yield folder
    except KeyboardInterrupt:
        if folder.is_dir():
            raise KeyboardInterrupt(
                f"the training so far is in {folder}: the same command with --resume goes on"
            ) from None
        raise
    except UsageError:
        if not args.resume:
            discard(folder)
        raise
    discard(folder)


def discard(folder: Path) -> None:
    """Remove checkpoints, and the folder unless it holds something else."""
    for file in [*folder.glob("*.safetensors"), *folder.glob(".*.safetensors.part")]:
        file.unlink()
    with suppress(OSError):
        folder.rmdir()
