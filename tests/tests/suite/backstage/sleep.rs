//! The real Backstage, suspended and woken.

use std::time::Instant;

use orbitd_tests::{
    paths, processes,
    swap::Swap,
    wait::{self, seconds},
};

use super::{backstage, component, entities, identities};

#[tokio::test]
async fn a_suspended_backstage_is_small_and_back_at_once() {
    if let Err(reason) = Swap::of(2048) {
        println!("not tested: {reason}");
        return;
    }
    let daemon = backstage().await;
    let before = identities(&daemon);
    let awake = component(&daemon, "acme", "acme-storefront").await;
    wait::until("a machine with swap", seconds(30), || async {
        let _swap = Swap::of(2048)?;
        let suspended = daemon.admin().call("POST", "/v1/workspaces/acme/suspend", None).await;
        if suspended.status == 202 { Ok(()) } else { Err(suspended.text()) }
    })
    .await;
    daemon.admin().until("acme", "suspended", seconds(60), |one| one["status"]["phase"] == "suspended").await;
    let instances = daemon.instances();
    let acme = instances.iter().find(|one| one.cwd.to_string_lossy().contains("/acme-")).expect("it is there still");
    let resident = processes::resident_kib(acme.pid) >> 10;
    println!("a suspended Backstage: {resident} MiB resident");
    // Without the addon the pages of Node itself stay, which all instances share.
    let parks = paths::backstage().join("packages/backend/src/park.node").is_file();
    assert!(resident <= if parks { 12 } else { 90 }, "{resident} MiB");
    let began = Instant::now();
    let woken = entities(&daemon, "acme", "component").await.expect("the catalogue");
    println!("its catalogue after {:?}", began.elapsed());
    assert!(awake.iter().all(|name| woken.contains(name)), "{woken:?}");
    assert_eq!(identities(&daemon), before, "the same processes");
    assert!(began.elapsed() < seconds(5));
}
