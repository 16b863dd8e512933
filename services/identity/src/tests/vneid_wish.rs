//! Clients that wish for VNeID (`acr_values`): it is offered first, once, and never demanded.

use chrono::TimeDelta;
use serde_json::json;

use super::ekyc::Scene;
use super::openid::{Browser, claims};
use super::vneid_sign_in::{NUMBER, PHONE, local, pressed};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_wishes_for_vneid_has_it_offered_first_and_takes_what_comes() {
    let scene = Scene::new().await;
    scene.linked_citizen().await;
    let app = scene.stage.register(json!({})).await;
    let (code, vneid) = (crate::session::ACR_CODE, crate::session::ACR_VNEID);
    let acr = async |given: &std::collections::BTreeMap<String, String>| {
        let tokens = app.exchange(&scene.stage, &given["code"]).await.json();
        claims(tokens["id_token"].as_str().expect("a token"))["acr"].clone()
    };
    let mut browser = Browser::default();
    browser.code(&scene.stage, &app.ask(&[])).await;
    scene.stage.clock.advance(TimeDelta::seconds(1));
    let silent = browser.get(&scene.stage, &app.ask(&[("acr_values", vneid), ("prompt", "none")])).await.back();
    assert_eq!(acr(&silent).await, json!(code), "what the session has");
    for content in [format!("{vneid} {code}"), "gold".to_owned()] {
        let back = browser.get(&scene.stage, &app.ask(&[("acr_values", &content)])).await.back();
        assert!(back.contains_key("code"), "{content}: {back:?}");
    }
    let wish = app.ask(&[("acr_values", vneid)]);
    let page = browser.get(&scene.stage, &wish).await;
    let (button, number) = (page.text.find("value=\"vneid\""), page.text.find("for=\"phone\""));
    assert!(button.is_some() && button < number, "VNeID comes first: {}", page.text);
    let back = browser.sign_in(&scene.stage, &page, PHONE).await.back();
    assert_eq!(acr(&back).await, json!(code), "a wish, and the citizen chose the telephone");
    scene.stage.clock.advance(TimeDelta::seconds(1));
    let url = pressed(&scene, &mut browser, &wish).await;
    let back = browser.get(&scene.stage, &local(&scene.way_back(&url, NUMBER).await)).await.back();
    assert_eq!(acr(&back).await, json!(vneid));
    scene.stage.clock.advance(TimeDelta::seconds(1));
    assert!(browser.get(&scene.stage, &wish).await.back().contains_key("code"), "it is what was wished for");
    let plain = browser.get(&scene.stage, &app.ask(&[("prompt", "login")])).await;
    assert!(plain.text.find("value=\"vneid\"") > plain.text.find("for=\"phone\""), "{}", plain.text);
}
