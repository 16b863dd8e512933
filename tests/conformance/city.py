"""A running city, and what is outside of it, for clients that know it by HTTP only."""

import json
import re
import subprocess
import time
import uuid
from pathlib import Path

import requests

PATIENCE_S = 30


class City:
    """A running city, and what is outside of it."""

    def __init__(self, folder: Path, program: str):
        run = json.loads((folder / "run.json").read_text())
        self.url, self.sandbox, self.folder, self.program = run["http"], run["sandbox"], folder, program

    def code_sent_to(self, phone: str) -> str:
        """The one-time code that came by SMS."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            for message in requests.get(f"{self.sandbox}/sms", params={"to": phone}, timeout=PATIENCE_S).json():
                if digits := re.search(r"\b\d{6}\b", message["text"]):
                    return digits.group()
            time.sleep(0.05)
        raise AssertionError("no code came by SMS")

    def citizen(self) -> dict:
        """The session of a new citizen."""
        phone, device = new_phone(), str(uuid.uuid4())
        asked = post(f"{self.url}/identity/v1/otp", {"phone": phone, "purpose": "sign-in", "device_id": device}, 202)
        code = self.code_sent_to(phone)
        session = {"challenge_id": asked["challenge_id"], "code": code, "device": {"id": device, "name": "test"}}
        return post(f"{self.url}/identity/v1/sessions", session, 201)

    def holder(self, role: str, *options: str) -> str:
        """The access token of somebody who was given a role on the machine."""
        opened = self.citizen()
        grant = [self.program, "admin", "grant-role", opened["user"]["id"], role, "--reason", "conformance", *options]
        subprocess.run([*grant, "--data-dir", str(self.folder)], check=True, stdout=subprocess.DEVNULL)
        refreshed = {"refresh_token": opened["refresh_token"]}
        return post(f"{self.url}/identity/v1/sessions/refresh", refreshed, 200)["access_token"]


def new_phone() -> str:
    return f"+8490{uuid.uuid4().int % 10_000_000:07}"


def post(url: str, body: dict, status: int, headers=None) -> dict:
    answer = requests.post(url, json=body, headers=headers, timeout=PATIENCE_S)
    assert answer.status_code == status, f"{url}: {answer.status_code} {answer.text}"
    return answer.json()
