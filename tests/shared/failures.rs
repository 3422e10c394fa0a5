//! Redis that is not there, goes, comes back, hangs, forgets, or says no.

use meridian_core::health::Coordination;

use super::*;

const UP: Coordination = Coordination::Redis { up: true };
const DOWN: Coordination = Coordination::Redis { up: false };

/// A Redis that is back must be in use again within this time.
const BACK_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absent_at_the_start_it_is_used_when_it_comes() {
    let mut redis = Redis::stopped();
    let (here, there) = (Node::new(&redis), Node::new(&redis));
    here.cool(Whose::Deployment, LONG);
    // The node itself waits for nobody.
    assert!(here.left_out(Whose::Deployment).is_some());
    here.is(DOWN, SOON).await;
    redis.run();
    let started = now();
    there.hears(Whose::Deployment, BACK_WITHIN).await;
    println!("heard {:?} after Redis came", started.elapsed());
    here.is(UP, BACK_WITHIN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_started_again_it_has_everything_that_stands() {
    let mut redis = Redis::start();
    let (here, there) = (Node::new(&redis), Node::new(&redis));
    here.is_up().await;
    there.is_up().await;
    here.cool(Whose::Deployment, LONG);
    there.hears(Whose::Deployment, SOON).await;
    redis.kill();
    here.is(DOWN, SOON).await;
    there.is(DOWN, SOON).await;
    // Both nodes go on with what they know, and find out more.
    assert!(there.left_out(Whose::Deployment).is_some());
    here.cool(Whose::Credential, LONG);
    redis.run();
    let started = now();
    there.hears(Whose::Credential, BACK_WITHIN).await;
    println!("heard {:?} after Redis was back", started.elapsed());
    there.is(UP, BACK_WITHIN).await;
    // The new server knows the old cooldown too.
    let later = Node::new(&redis);
    later.hears(Whose::Deployment, SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_hangs_is_noticed_and_used_again_when_it_goes_on() {
    let redis = Redis::start();
    let (here, there) = (Node::new(&redis), Node::new(&redis));
    here.is_up().await;
    there.is_up().await;
    redis.pause();
    let paused = now();
    here.is(DOWN, SOON).await;
    there.is(DOWN, SOON).await;
    println!("noticed after {:?}", paused.elapsed());
    here.cool(Whose::Deployment, LONG);
    redis.resume();
    let resumed = now();
    there.hears(Whose::Deployment, BACK_WITHIN).await;
    println!("heard {:?} after it went on", resumed.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_was_emptied_is_filled_again() {
    let redis = Redis::start();
    let (here, there) = (Node::new(&redis), Node::new(&redis));
    here.is_up().await;
    there.is_up().await;
    here.cool(Whose::Deployment, LONG);
    there.hears(Whose::Deployment, SOON).await;
    here.has_sent(1).await;
    redis.ask(&["FLUSHALL"]);
    for node in [&here, &there] {
        assert!(node.left_out(Whose::Deployment).is_some());
    }
    let key = here.key(Whose::Deployment);
    eventually(BACK_WITHIN, "the key", || {
        (redis.ask(&["EXISTS", &key]) == "1").then_some(())
    })
    .await;
    let left: i64 = redis.ask(&["PTTL", &key]).parse().unwrap();
    assert!(left > 90_000 && left <= 120_000, "{left}");
    assert_eq!(there.messages(CoordinationMessage::Heard), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_closes_its_connections_loses_nothing() {
    let redis = Redis::start();
    let (here, there) = (Node::new(&redis), Node::new(&redis));
    here.is_up().await;
    there.is_up().await;
    redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    redis.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
    here.cool(Whose::Deployment, LONG);
    there.hears(Whose::Deployment, BACK_WITHIN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_one_is_left_alone_until_it_takes_writes() {
    let master = Redis::start();
    let redis = Redis::start();
    let (here, there) = (Node::new(&redis), Node::new(&redis));
    here.is_up().await;
    there.is_up().await;
    let port = master.addr().port().to_string();
    redis.ask(&["REPLICAOF", "127.0.0.1", &port]);
    here.cool(Whose::Deployment, LONG);
    here.is(DOWN, SOON).await;
    redis.ask(&["REPLICAOF", "NO", "ONE"]);
    there.hears(Whose::Deployment, BACK_WITHIN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_becomes_right() {
    let redis = Redis::with_password("the-old-one");
    let url = format!("redis://:the-new-one@{}", redis.addr());
    let (here, there) = (Node::of(&yaml(&url), None), Node::of(&yaml(&url), None));
    here.cool(Whose::Deployment, LONG);
    here.is(DOWN, SOON).await;
    redis.ask(&["CONFIG", "SET", "requirepass", "the-new-one"]);
    there.hears(Whose::Deployment, BACK_WITHIN).await;
}
