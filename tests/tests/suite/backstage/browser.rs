//! The browser's way in, in a headless Chromium.

use orbitd_tests::{chromium::Browser, wait::seconds};

use super::{backstage, component};

#[tokio::test]
async fn a_login_url_opens_the_workspaces_catalogue_signed_in() {
    let daemon = backstage().await;
    component(&daemon, "acme", "acme-storefront").await;
    let url = daemon.admin().login_url("acme", &daemon.token(&["acme"])).await;
    assert!(url.starts_with(&format!("http://{}/.orbit/login?code=", daemon.host("acme"))), "{url}");
    let mut browser = Browser::start(&daemon.dir).await.expect("a browser");
    browser.open(&url).await.expect("the page opens");
    let page = browser.shows("acme-storefront", seconds(90)).await;
    assert!(!page.contains("globex-"), "{page}");
    let cookie = browser.evaluate("document.cookie").await.expect("a value");
    assert!(!cookie.to_string().contains("orbit_session"), "a script can read the session: {cookie}");
    if let Some(folder) = std::env::var_os("ORBITD_TEST_SCREENSHOTS") {
        let path = std::path::Path::new(&folder).join("catalogue.png");
        browser.screenshot(&path).await.expect("a picture");
    }
    // Who is signed in, from the app's own settings page.
    browser.open(&format!("http://{}/settings", daemon.host("acme"))).await.expect("the page opens");
    browser.shows("user:default/alice", seconds(60)).await;

    // The session is acme's: the same browser is nobody on globex.
    browser.open(&format!("http://{}/", daemon.host("globex"))).await.expect("the page opens");
    browser.shows("401", seconds(30)).await;
    // The code worked once.
    let again = daemon.get("acme", url.split_once(&daemon.host("acme")).expect("its host").1, None).await;
    assert!((400..500).contains(&again.status.as_u16()), "a used code: {}", again.status);
}

#[tokio::test]
async fn the_bare_url_is_a_401_page() {
    let daemon = backstage().await;
    let headers = [("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")];
    let page = daemon.send("GET", "acme", "/", None, &headers, "").await.expect(401);
    assert!(page.header("content-type").starts_with("text/html"), "{:?}", page.headers);
    let mut browser = Browser::start(&daemon.dir).await.expect("a browser");
    browser.open(&format!("http://{}/", daemon.host("acme"))).await.expect("the page opens");
    let text = browser.shows("401", seconds(30)).await;
    assert!(!text.contains("acme-storefront"), "{text}");
}

#[tokio::test]
async fn login_sets_a_cookie_that_scripts_and_other_sites_do_not_get() {
    let daemon = backstage().await;
    let url = daemon.admin().login_url("acme", &daemon.token(&["acme"])).await;
    let target = url.split_once(&daemon.host("acme")).expect("its host").1.to_owned();
    let reply = daemon.get("acme", &target, None).await.expect(303);
    assert_eq!(reply.header("location"), "/");
    let cookie = reply.header("set-cookie").to_owned();
    for part in ["orbit_session=", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(part), "{part} is missing: {cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    let pair = cookie.split(';').next().unwrap_or_default().to_owned();
    let session =
        daemon.send("GET", "acme", "/api/auth/orbitd/refresh", None, &[("cookie", &pair)], "").await.expect(200);
    assert_eq!(session.json()["backstageIdentity"]["identity"]["userEntityRef"], "user:default/alice");
    daemon.send("GET", "globex", "/api/catalog/entities", None, &[("cookie", &pair)], "").await.expect(403);
    let out = daemon.send("GET", "acme", "/.orbit/logout", None, &[("cookie", &pair)], "").await;
    assert!(out.header("set-cookie").contains("orbit_session=;"), "{:?}", out.headers);
}
