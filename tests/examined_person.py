"""A person with a home, a project and an environment, who runs `ppmproxy doctor`."""

from __future__ import annotations

import json
from dataclasses import dataclass

from forked_command import forked_ppmproxy

SECRET = "hunter2-do-not-show"
NO_PIP_FILES = {"PIP_CONFIG_FILE": "/dev/null"}


@dataclass
class Person:
    """Somebody with a home, a project folder and an environment, who runs doctor."""

    home: object
    project: object
    environ: dict

    async def doctor(self, *arguments, **environ):
        """Exit code and findings; nothing but those is said, and no traceback."""
        return await self.doctor_in({**self.environ, **environ}, *arguments)

    async def doctor_in(self, environ, *arguments):
        """The same with these variables alone."""
        end = await forked_ppmproxy(["doctor", "--json", *arguments], environ, self.project)
        found = json.loads(end.output)
        assert all(set(one) == {"check", "outcome", "what", "fix"} for one in found)
        assert all((one["outcome"] == "ok") == (one["fix"] == "") for one in found)
        assert end.code == int(any(one["outcome"] == "failed" for one in found))
        assert SECRET not in end.output
        return Report(found, end.output)

    def has(self, path, text):
        file = self.home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file


@dataclass
class Report:
    found: list
    text: str

    def of(self, check, outcome=None):
        """The one finding of a check, or the one with this outcome."""
        findings = [one for one in self.found if one["check"] == check and outcome in {None, one["outcome"]}]
        assert len(findings) == 1, self.found
        return findings[0]

    def faults(self):
        return {one["check"] for one in self.found if one["outcome"] != "ok"}
