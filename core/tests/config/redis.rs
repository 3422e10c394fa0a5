//! Where Redis is: every form that people write, and every mistake.

use meridian_core::config::{Place, Redis};

use super::*;

const MODELS: &str = "model_list: [{model_name: m, litellm_params: {model: mock/m}}]\n";

fn redis(lines: &str, variables: &[(&str, &str)]) -> Redis {
    let text = format!("{KEY}{MODELS}{lines}");
    good(&text, variables).0.redis.unwrap()
}

fn cache(params: &str, variables: &[(&str, &str)]) -> Redis {
    let lines = format!("litellm_settings: {{cache_params: {{type: redis, {params}}}}}\n");
    redis(&lines, variables)
}

fn password(redis: &Redis) -> Option<&str> {
    redis.password.as_ref().map(|secret| secret.reveal())
}

/// The problems of a configuration that does not start.
fn refused(lines: &str, variables: &[(&str, &str)]) -> String {
    let text = format!("{KEY}{MODELS}{lines}");
    let loaded = load_files(&[("c.yaml", &text)], variables);
    assert!(loaded.config.is_none(), "{:#?}", shown(&loaded));
    shown(&loaded).join("\n")
}

#[test]
fn one_server_by_parts_by_url_and_by_variables() {
    let parts = "host: r.example, port: 7000, username: u, password: p, ssl: true, db: 3, \
                 namespace: ns";
    let by_parts = cache(parts, &[]);
    assert_eq!(by_parts.place.to_string(), "r.example:7000");
    assert_eq!(by_parts.username.as_deref(), Some("u"));
    assert_eq!(password(&by_parts), Some("p"));
    assert_eq!((by_parts.tls, by_parts.database), (true, 3));
    assert_eq!(by_parts.namespace.as_deref(), Some("ns"));

    let by_url = cache(
        "url: 'rediss://u:p%40%2F@[::1]:7000/3', namespace: ns, host: unread",
        &[],
    );
    let Place::Single(node) = &by_url.place else {
        panic!("{by_url:?}");
    };
    assert_eq!(node, &("::1".to_owned(), 7000));
    assert_eq!(password(&by_url), Some("p@/"));
    assert_eq!((by_url.tls, by_url.database), (true, 3));

    let variables = [
        ("REDIS_HOST", "r.example"),
        ("REDIS_PASSWORD", "p"),
        ("REDIS_SSL", "True"),
    ];
    let by_variables = redis("", &variables);
    assert_eq!(by_variables.place.to_string(), "r.example:6379");
    assert_eq!(password(&by_variables), Some("p"));
    assert!(by_variables.tls);
    // What Kubernetes sets beside a service that is called redis.
    let linked = [
        ("REDIS_HOST", "redis"),
        ("REDIS_PORT", "tcp://10.0.0.1:6379"),
    ];
    assert_eq!(redis("", &linked).place.to_string(), "redis:6379");
    let text = format!("{KEY}{MODELS}");
    assert!(good(&text, &linked[1..]).0.redis.is_none());
    let by_url_variable = redis("", &[("REDIS_URL", "redis://:p@r.example?db=2")]);
    assert_eq!(password(&by_url_variable), Some("p"));
    assert_eq!((by_url_variable.tls, by_url_variable.database), (false, 2));
}

#[test]
fn a_login_that_the_file_leaves_out_comes_from_the_variables() {
    let variables = [("REDIS_PASSWORD", "p"), ("REDIS_HOST", "unread")];
    let by_parts = cache("host: r.example", &variables);
    assert_eq!(by_parts.place.to_string(), "r.example:6379");
    assert_eq!(password(&by_parts), Some("p"));
    // A URL says all of it.
    assert_eq!(
        password(&cache("url: 'redis://r.example'", &variables)),
        None
    );
}

#[test]
fn the_routers_redis_comes_before_that_of_the_cache() {
    let lines = "router_settings: {redis_host: router.example, redis_port: 7001, cache_kwargs: \
                 {ssl: true, username: u}}\n\
                 litellm_settings: {cache_params: {type: redis, host: cache.example}}\n";
    let found = redis(lines, &[]);
    assert_eq!(found.place.to_string(), "router.example:7001");
    assert!(found.tls && found.username.as_deref() == Some("u"));
    let other = "litellm_settings: {cache_params: {type: s3, host: cache.example}}\n";
    let text = format!("{KEY}{MODELS}{other}");
    assert!(good(&text, &[]).0.redis.is_none(), "not a Redis");
    let unset = "router_settings: {redis_host: os.environ/NOT_SET}\n\
                 litellm_settings: {cache_params: {type: redis, host: cache.example}}\n";
    assert_eq!(redis(unset, &[]).place.to_string(), "cache.example:6379");
}

#[test]
fn sentinels_and_clusters_in_every_spelling() {
    let sentinel = "general_settings: {master_key: sk-0123456789abcdef, redis_port: 26380, \
        redis_host: s.example, redis_password: p, redis_use_sentinel: true, \
        redis_sentinel_master_name: mymaster}\n";
    let by_mistake = good(&format!("{sentinel}{MODELS}"), &[]).0.redis.unwrap();
    let expected = "mymaster of sentinels s.example:26380";
    assert_eq!(by_mistake.place.to_string(), expected);

    let by_cache = cache(
        "service_name: mymaster, sentinel_nodes: [[a, 1], [b, '2'], [c]], sentinel_password: sp, \
         password: p",
        &[],
    );
    let expected = "mymaster of sentinels a:1,b:2,c:26379";
    assert_eq!(by_cache.place.to_string(), expected);
    let Place::Sentinel { password, .. } = &by_cache.place else {
        panic!("{by_cache:?}");
    };
    assert_eq!(password.as_ref().map(|it| it.reveal()), Some("sp"));

    let variables = [
        ("REDIS_SENTINEL_NODES", r#"[["a", 26379], ["b", 26380]]"#),
        ("REDIS_SERVICE_NAME", "mymaster"),
        ("REDIS_SENTINEL_PASSWORD", "sp"),
    ];
    let expected = "mymaster of sentinels a:26379,b:26380";
    assert_eq!(redis("", &variables).place.to_string(), expected);

    let nodes = r#"[{"host": "a", "port": "7000"}, {"host": "b", "port": 7001}]"#;
    for found in [
        redis("", &[("REDIS_CLUSTER_NODES", nodes)]),
        cache(&format!("redis_startup_nodes: {nodes}"), &[]),
        cache(&format!("startup_nodes: {nodes}, host: unread"), &[]),
        cache("startup_nodes: ['a:7000', 'b:7001']", &[]),
    ] {
        assert_eq!(found.place.to_string(), "cluster a:7000,b:7001");
    }
}

#[test]
fn a_mistake_is_named_where_it_was_made_and_shows_no_password() {
    let url = |url: &str| {
        let lines = format!("litellm_settings: {{cache_params: {{url: '{url}'}}}}\n");
        refused(&lines, &[])
    };
    let path = "error: litellm_settings.cache_params.url: ";
    for (text, said) in [
        ("http://x", "begins with `redis://`"),
        ("redis://u:secret-text/1@h", "%2F"),
        ("redis://:secret-text@h:99999", "a port from 1 to 65535"),
        ("redis://:secret-text@h/300", "a database from 0 to 255"),
        ("redis://:secret-text%4@h", "not percent-encoded"),
        (
            "redis://:secret-text@h?ssl_cert_reqs=none",
            "only `db` is read",
        ),
    ] {
        let found = url(text);
        assert!(
            found.contains(path) && found.contains(said),
            "{text}: {found}"
        );
        assert!(!found.contains("secret-text"), "{found}");
    }
    let found = refused("", &[("REDIS_URL", "nonsense")]);
    assert!(
        found.contains("error: REDIS_URL: expected a URL"),
        "{found}"
    );
    let found = refused("", &[("REDIS_HOST", "h"), ("REDIS_PORT", "many")]);
    assert!(
        found.contains("REDIS_PORT: expected a whole number"),
        "{found}"
    );
    let found = refused("", &[("REDIS_CLUSTER_NODES", "a:7000")]);
    assert!(
        found.contains("REDIS_CLUSTER_NODES: expected a JSON list"),
        "{found}"
    );
    let nodes = "litellm_settings: {cache_params: {sentinel_nodes: [[a, 1], [b, many]], \
                 service_name: m}}\n";
    let found = refused(nodes, &[]);
    assert!(
        found.contains("cache_params.sentinel_nodes[1]: expected"),
        "{found}"
    );
    let nameless = "litellm_settings: {cache_params: {sentinel_nodes: [[a, 1]]}}\n";
    let found = refused(nameless, &[]);
    let said = "cache_params.service_name: Sentinels are listed, but not the name";
    assert!(found.contains(said), "{found}");
}

#[test]
fn what_redis_is_used_for_is_said_and_what_it_is_not_used_for() {
    let lines = "router_settings: {redis_host: r.example}\n\
                 litellm_settings: {cache: true, enable_redis_auth_cache: true}\n";
    let problems = good(&format!("{KEY}{MODELS}{lines}"), &[]).1.join("\n");
    let said = "notice: router_settings: Redis (r.example:6379) is used for cooldowns, for cached \
                answers, and for what nodes that have one `database_url` tell each other of \
                changes, budgets and limits; without a `database_url` each node has the whole of \
                every budget and limit";
    assert!(problems.contains(said), "{problems}");
    let said = "warning: litellm_settings.enable_redis_auth_cache: not in this version yet: Redis \
                carries what nodes tell each other and cached answers, nothing else";
    assert!(problems.contains(said), "{problems}");
    assert!(!problems.contains("Redis is not used"), "{problems}");
}

#[test]
fn a_changed_password_is_another_redis() {
    let one = cache("host: h, password: p", &[]);
    assert!(one.is_same(&cache("host: h, password: p", &[])));
    assert!(!one.is_same(&cache("host: h, password: q", &[])));
    assert!(!one.is_same(&cache("url: 'rediss://:p@h'", &[])));
}
