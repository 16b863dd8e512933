"""The OpenID provider of a running city, tried by Authlib: what an independent client of another language expects.

Takes the city's folder (of `trangtien up`) and the program; makes an admin on the machine, registers clients over HTTP,
signs a citizen in at the hosted page without any script, and checks tokens by the published keys alone.
"""

import html
import re
import sys
import uuid
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import requests
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session
from authlib.jose import JsonWebKey, jwt
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import OpenIDProviderMetadata, get_well_known_url

from city import PATIENCE_S, City, new_phone, post

CALLBACK = "https://tickets.example/cb"


def register(city: City, token: str, **changed) -> dict:
    """A registered client."""
    body = {
        "name": {"vi": "Vé tham quan", "en": "Tickets"},
        "access": "confidential",
        "grant_types": ["authorization_code", "refresh_token"],
        "scopes": ["openid", "profile", "phone", "offline_access"],
        "redirect_uris": [CALLBACK],
    } | changed
    headers = {"authorization": f"Bearer {token}", "idempotency-key": str(uuid.uuid4())}
    return post(f"{city.url}/identity/v1/clients", body, 201, headers)


def sign_in(city: City, url: str, phone: str) -> str:
    """Goes through the hosted pages as a browser without scripts does; gives where the browser is sent then."""
    browser = requests.Session()

    def step(page: str, **fields) -> requests.Response:
        ticket = html.unescape(re.search(r'name="ticket" value="([^"]*)"', page).group(1))
        return browser.post(f"{city.url}/oauth2/sign-in", data={"ticket": ticket, **fields}, allow_redirects=False, timeout=PATIENCE_S)

    page = browser.get(url, timeout=PATIENCE_S)
    assert page.status_code == 200 and "<script" not in page.text, page.text
    page = step(page.text, action="phone", phone=phone)
    page = step(page.text, action="code", code=city.code_sent_to(phone))
    if page.status_code == 200:
        page = step(page.text, action="allow")
    assert page.status_code == 303, page.text
    return page.headers["location"]


def code_flow(city: City, metadata: dict, client: dict, method: str) -> None:
    """A sign-in by code and PKCE, its tokens, their refresh, revocation and introspection."""
    session = OAuth2Session(
        client["client_id"],
        client.get("client_secret"),
        token_endpoint_auth_method=method,
        redirect_uri=CALLBACK,
        scope="openid phone offline_access",
        code_challenge_method="S256",
    )
    verifier, nonce, phone = generate_token(48), generate_token(20), new_phone()
    url, state = session.create_authorization_url(metadata["authorization_endpoint"], code_verifier=verifier, nonce=nonce)
    back = sign_in(city, url, phone)
    answer = {name: values[0] for name, values in parse_qs(urlparse(back).query).items()}
    assert back.startswith(CALLBACK) and answer["state"] == state and answer["iss"] == metadata["issuer"], back
    token = session.fetch_token(metadata["token_endpoint"], authorization_response=back, code_verifier=verifier, state=state)
    keys = JsonWebKey.import_key_set(requests.get(metadata["jwks_uri"], timeout=PATIENCE_S).json())
    wanted = {"iss": {"essential": True, "value": metadata["issuer"]}, "aud": {"essential": True, "value": client["client_id"]}}
    params = {"nonce": nonce, "client_id": client["client_id"], "access_token": token["access_token"]}
    claims = jwt.decode(token["id_token"], keys, claims_cls=CodeIDToken, claims_options=wanted, claims_params=params)
    claims.validate(leeway=5)
    assert claims.header["alg"] == client["id_token_signed_response_alg"], claims.header
    info = session.get(metadata["userinfo_endpoint"]).json()
    assert info["sub"] == claims["sub"] and info["phone_number"] == phone, info

    # The same code again is refused, and ends what it gave.
    replay = OAuth2Session(client["client_id"], client.get("client_secret"), token_endpoint_auth_method=method, redirect_uri=CALLBACK)
    refused(lambda: replay.fetch_token(metadata["token_endpoint"], code=answer["code"], code_verifier=verifier), "invalid_grant")
    refused(lambda: session.refresh_token(metadata["token_endpoint"], token["refresh_token"]), "invalid_grant")

    # A second sign-in: refreshed, asked about, given back.
    verifier = generate_token(48)
    url, state = session.create_authorization_url(metadata["authorization_endpoint"], code_verifier=verifier)
    back = sign_in(city, url, new_phone())
    session.fetch_token(metadata["token_endpoint"], authorization_response=back, code_verifier=verifier, state=state)
    token = session.refresh_token(metadata["token_endpoint"], session.token["refresh_token"])
    if method != "none":
        said = session.introspect_token(metadata["introspection_endpoint"], token=token["access_token"]).json()
        assert said["active"] and said["client_id"] == client["client_id"], said
    given_back = session.revoke_token(metadata["revocation_endpoint"], token=token["refresh_token"])
    assert given_back.status_code == 200, given_back.text
    refused(lambda: session.refresh_token(metadata["token_endpoint"], token["refresh_token"]), "invalid_grant")

    # A wrong verifier.
    url, state = session.create_authorization_url(metadata["authorization_endpoint"], code_verifier=generate_token(48))
    back = sign_in(city, url, new_phone())
    other = generate_token(48)
    refused(lambda: session.fetch_token(metadata["token_endpoint"], authorization_response=back, code_verifier=other, state=state), "invalid_grant")


def refused(act, error: str) -> None:
    try:
        act()
    except Exception as fault:  # Authlib has its own class for each error.
        assert getattr(fault, "error", "") == error, f"{fault!r} in place of {error}"
        return
    raise AssertionError(f"{error} was expected")


def check_metadata(metadata: OpenIDProviderMetadata) -> None:
    """Every rule of discovery, but that a laptop's city is no HTTPS one."""
    for key in metadata.REGISTRY_KEYS:
        try:
            getattr(metadata, f"validate_{key}", lambda: None)()
        except ValueError as fault:
            assert "https" in str(fault), fault


def main() -> None:
    city = City(Path(sys.argv[1]), sys.argv[2])
    document = requests.get(get_well_known_url(city.url, external=True), timeout=PATIENCE_S).json()
    check_metadata(OpenIDProviderMetadata(document))
    assert document["issuer"] == city.url and document["code_challenge_methods_supported"] == ["S256"], document
    admin = city.holder("admin")
    for method, changed in [
        ("client_secret_basic", {}),
        ("client_secret_post", {"id_token_signed_response_alg": "EdDSA"}),
        ("none", {"access": "public"}),
    ]:
        code_flow(city, document, register(city, admin, **changed), method)
        print(f"code flow, {method}: holds")
    agency = register(
        city, admin, grant_types=["client_credentials"], scopes=["fees:write"], redirect_uris=[], agency="PVHCC"
    )
    program = OAuth2Session(agency["client_id"], agency["client_secret"], scope="fees:write")
    token = program.fetch_token(document["token_endpoint"], grant_type="client_credentials")
    assert token["scope"] == "fees:write" and program.get(f"{city.url}/wallet/v1/fee-notices").status_code == 200
    beyond = OAuth2Session(agency["client_id"], agency["client_secret"], scope="tokens:introspect")
    refused(lambda: beyond.fetch_token(document["token_endpoint"], grant_type="client_credentials"), "invalid_scope")
    assert requests.get(f"{city.url}/identity/v1/me", headers={"authorization": f"Bearer {token['access_token']}"}, timeout=PATIENCE_S).status_code == 403
    print("client credentials: hold")


if __name__ == "__main__":
    main()
