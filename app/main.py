"""The entry: `streamlit run app/main.py` serves the pages of ui.py and the routes of routes.py."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from app.base_path import base_path
from app.promptness import Promptness
from app.routes import build_routes
from app.security import Guard

app = st.App(
    Path(__file__).with_name("ui.py"),
    routes=build_routes(base_path()),
    middleware=[Middleware(Promptness), Middleware(Guard)],
)
