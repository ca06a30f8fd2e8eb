"""The app's only screen."""

from __future__ import annotations

import asyncio

import toga
from toga.style import Pack

from people.server import Server

__all__ = ["PeopleApp"]


class PeopleApp(toga.App):
    """A button that asks the server, and its answer."""

    server: Server

    def startup(self) -> None:
        """Build the screen; a certificate that is missing or broken stops the app here."""
        self.server = Server()
        self.answer = toga.MultilineTextInput(readonly=True, style=Pack(flex=1))
        self.button = toga.Button("Ask the server", on_press=self.ask)
        self.main_window = toga.MainWindow(title=self.formal_name)
        self.main_window.content = toga.Box(
            children=[self.button, self.answer], style=Pack(direction="column", margin=10)
        )
        self.main_window.show()

    async def ask(self, button: toga.Button, **more: object) -> None:
        """Ask without holding up the screen."""
        button.enabled = False
        self.answer.value = "…"
        try:
            self.answer.value = await asyncio.to_thread(self.server.welcome)
        finally:
            button.enabled = True
