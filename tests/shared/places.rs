//! Every kind of place that Redis can be at.

use super::*;

/// Two nodes with these `cache_params` share a cooldown.
async fn share(params: &str) {
    let yaml = support::with_cache(params);
    let (here, there) = (Node::of(&yaml, None), Node::of(&yaml, None));
    here.is_up().await;
    there.is_up().await;
    here.cool(Whose::Deployment, LONG);
    there.hears(Whose::Deployment, SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_password_in_a_database_under_a_namespace() {
    let redis = Redis::with_password("p@ss");
    let port = redis.addr().port();
    let parts = format!("host: 127.0.0.1, port: {port}, password: 'p@ss', namespace: ns, db: 3");
    share(&parts).await;
    assert!(redis.ask(&["INFO", "keyspace"]).contains("db3:keys=1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_user_of_the_access_list_with_no_more_rights_than_documented() {
    let redis = Redis::start();
    let rights = "+ping +select +set +pttl +getrange +publish +subscribe";
    let mut words = vec![
        "ACL",
        "SETUSER",
        "gateway",
        "on",
        ">p",
        "~meridian:*",
        "&meridian:*",
    ];
    words.extend(rights.split(' '));
    assert_eq!(redis.ask(&words), "OK");
    share(&format!("url: 'redis://gateway:p@{}'", redis.addr())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_sentinels_of_which_the_first_is_gone() {
    let master = Redis::start();
    let sentinel = Redis::sentinel("mymaster", &master);
    let (gone, port) = (Redis::stopped().addr().port(), sentinel.addr().port());
    let nodes = format!("[[127.0.0.1, {gone}], [127.0.0.1, {port}]]");
    share(&format!("service_name: mymaster, sentinel_nodes: {nodes}")).await;
    assert_eq!(master.ask(&["DBSIZE"]), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_sentinels_that_put_another_server_in_charge() {
    let (master, replica) = (Redis::start(), Redis::start());
    let port = master.addr().port().to_string();
    replica.ask(&["REPLICAOF", "127.0.0.1", &port]);
    let sentinel = Redis::sentinel("mymaster", &master);
    let port = sentinel.addr().port();
    let params = format!("service_name: mymaster, sentinel_nodes: [[127.0.0.1, {port}]]");
    let yaml = support::with_cache(&params);
    let (here, there) = (Node::of(&yaml, None), Node::of(&yaml, None));
    here.is_up().await;
    there.is_up().await;
    // Refused until it has seen the replica.
    eventually(6 * SOON, "a new master", || {
        sentinel.ask(&["SENTINEL", "FAILOVER", "mymaster"]);
        let role = replica.ask(&["ROLE"]);
        role.starts_with("master").then_some(())
    })
    .await;
    let started = now();
    here.cool(Whose::Deployment, LONG);
    there.hears(Whose::Deployment, SOON).await;
    println!("heard {:?} after the new master was one", started.elapsed());
    // The old one has taken the write, and loses it when the Sentinel makes it a replica, which is
    // some ten seconds later. The new one has it in the end.
    let key = here.key(Whose::Deployment);
    eventually(6 * SOON, "the key at the new master", || {
        (replica.ask(&["EXISTS", &key]) == "1").then_some(())
    })
    .await;
    println!(
        "written {:?} after the new master was one",
        started.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster() {
    let cluster = Redis::cluster();
    let port = cluster.addr().port();
    share(&format!(
        "redis_startup_nodes: [{{host: 127.0.0.1, port: {port}}}]"
    ))
    .await;
    assert_eq!(cluster.ask(&["DBSIZE"]), "1");
}
