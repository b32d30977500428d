"""What an operator does on the pages: the acts of the catalogue, which are the command's, with a form for their fields."""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import define
from twisted.internet.defer import Deferred
from twisted.web.server import Request

from socialrelay.boundaries import Full, Unavailable
from socialrelay.operators.offers import Offer, checked
from socialrelay.operators.plain import Plain
from socialrelay.operators.terms import ActError
from socialrelay.web.admin.consequences import Consequences
from socialrelay.web.admin.forms import Form
from socialrelay.web.admin.look import Look, away
from socialrelay.web.admin.sessions import Flash
from socialrelay.web.admin.visits import form_of, known
from socialrelay.web.answers import application
from socialrelay.web.pages import shielded

_PATH = re.compile(r"/admin/[A-Za-z0-9._~%/?&=+:@-]*")


@define(eq=False, slots=False)
class ActPages:
    """C{/admin/act/NAME}: a form's fields are the act's; C{back} is the page to return to, C{sure} says that it was asked before."""

    acts: Mapping[str, Offer]
    consequences: Consequences
    look: Look

    app = application()

    @app.route("/admin/act/<name>", methods=["POST"])
    async def act(self, request: Request, name: str) -> bytes:
        """Do it, and go back to the page that it was asked from; what came of it is shown there."""
        form, visit = form_of(request), known(request)
        offer = self.acts.get(name)
        if offer is None:
            return self.look.trouble(request, visit, 404, "There is no such act")
        try:
            said = form.said(offer.fields)
            if "source" in offer.fields and (file := form.get("text.file")):
                said["source"] = file
            fields = checked(offer, said)
            if form.get("sure") != "yes":
                question = await shielded(Deferred.fromCoroutine(self.consequences.of(name, fields)))
                if question is not None:
                    asked = {"act": name, "question": question, "fields": _again(form, offer), "back": back(form)}
                    return self.look.page(request, "confirm.html", visit, asked)
            # What was begun is finished, though the browser goes away.
            done = await shielded(Deferred.fromCoroutine(offer.run(**fields, who=visit.who)))
            flash = Flash(str(done["message"]), not _failed(done), _notes(done))
        except ActError as error:
            flash = Flash(str(error), well=False)
        except Unavailable:
            flash = Flash("The relay's database cannot be reached now; nothing was changed.", well=False)
        except Full as error:
            flash = Flash(f"The relay is too busy now: {error}. Try again in a moment.", well=False)
        visit.session.flashes.append(flash)
        return away(request, back(form))


def back(form: Form) -> str:
    """The page that a form stood on, if it is one of ours."""
    path = form.get("back")
    return path if _PATH.fullmatch(path) and "//" not in path else "/admin/"


def _failed(done: Plain) -> bool:
    """Whether what was asked for could not be had, though the act was done: preferences, or lists; the command then ends with 1."""
    report = done.get("report")
    return bool(done.get("failed")) or (report is not None and report["preferences"] is None)


def _notes(done: Plain) -> tuple[str, ...]:
    """What follows the message: notes, and what came of each list that was asked."""
    return (*done.get("notes", ()), *(f"{name}: {came}" for name, came in done.get("lists", {}).items()))


def _again(form: Form, offer: Offer) -> list[tuple[str, str]]:
    """The same fields once more, for the form that asks whether it is meant."""
    return [(name, value) for name in (*offer.fields, "back") for value in form.fields.get(name, [])]
