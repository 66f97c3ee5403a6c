"""What drawing code draws, without a window."""

from __future__ import annotations

import bpy


class Recorder:
    """Stands for a layout: takes every call, checks that what is drawn exists."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.operators: list[str] = []
        self.popovers: list[str] = []

    def __getattr__(self, name: str) -> object:
        def call(*args: object, **kwargs: object) -> object:
            if name == "prop":
                assert args[1] in args[0].bl_rna.properties, args[1]
            if name == "operator":
                kind, operator = args[0].split(".")
                assert operator in dir(getattr(bpy.ops, kind)), args[0]
                self.operators.append(args[0])
                return type("Properties", (), {})()
            if name == "popover":
                assert hasattr(bpy.types, str(kwargs["panel"])), kwargs["panel"]
                self.popovers.append(str(kwargs["panel"]))
            self.texts.append(str(kwargs.get("text", "")))
            return self

        return call
