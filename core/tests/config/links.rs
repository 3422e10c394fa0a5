//! Ways to other regions.

use super::*;

const BASE: &str = "model_list: [{model_name: m, litellm_params: {model: mock/m}}]\n\
    general_settings: {master_key: sk-0123456789abcdef}\n";
const STORES: [(&str, &str); 2] = [
    ("DATABASE_URL", "postgres://u@db.example/n"),
    ("REDIS_URL", "redis://cache.example"),
];

fn text_of(regions: &str) -> String {
    format!("{BASE}meridian: {{default_region: eu, regions: {regions}}}\n")
}

#[test]
fn a_link_leads_to_the_redis_of_another_region() {
    let text = text_of(
        "{links: {us: {url: 'rediss://u:p@r.example:7000/2', namespace: litellm}, \
         ap: {url: 'redis://r.example', password: secret, tls: true}}, max_stale_s: 60}",
    );
    let (config, _) = good(&text, &STORES);
    assert_eq!(config.links.max_stale, Duration::from_secs(60));
    let peer = |name: &str| {
        let mut peers = config.links.peers.iter();
        peers
            .find(|peer| peer.region == name)
            .unwrap()
            .redis
            .clone()
    };
    let us = peer("us");
    assert_eq!(us.place.to_string(), "r.example:7000");
    assert_eq!((us.tls, us.database), (true, 2));
    assert_eq!(us.namespace.as_deref(), Some("litellm"));
    let ap = peer("ap");
    assert_eq!(ap.place.to_string(), "r.example:6379");
    assert!(ap.tls && ap.password.unwrap().matches("secret"));
}

#[test]
fn a_link_that_cannot_be_used_is_named() {
    for (regions, expected) in [
        (
            "{links: {eu: {url: 'redis://r'}}}",
            "this node's own region",
        ),
        (
            "{links: {'a b': {url: 'redis://r'}}}",
            "expected a region name",
        ),
        (
            "{links: {us: {url: 'http://r'}}}",
            "expected a URL that begins with",
        ),
        ("{links: {us: {}}}", "expected a URL that begins with"),
        (
            "{links: {us: {url: 'redis://r', usr: x}}}",
            "unknown; expected one of",
        ),
    ] {
        let loaded = load_files(&[("c.yaml", &text_of(regions))], &STORES);
        let problems = shown(&loaded).join("\n");
        assert!(loaded.config.is_none(), "{regions}");
        assert!(problems.contains("meridian.regions.links"), "{problems}");
        assert!(problems.contains(expected), "{problems}");
    }
}

#[test]
fn links_need_a_postgres_and_a_redis_of_the_own_region() {
    let text = text_of("{links: {us: {url: 'redis://r'}}}");
    for (variables, missing) in [(&STORES[1..], "a Postgres"), (&STORES[..1], "a Redis")] {
        let (config, problems) = good(&text, variables);
        assert!(config.links.peers.is_empty());
        let problems = format!("{problems:?}");
        assert!(problems.contains(missing), "{problems}");
    }
}

#[test]
fn ceilings_are_kept_where_there_are_links_and_nowhere_else() {
    let linked = |isolation| {
        let links = "{us: {url: 'redis://r.example'}}";
        let text = text_of(&format!("{{links: {links}, isolation_s: {isolation}}}"));
        load_files(&[("c.yaml", &text)], &STORES)
    };
    let isolation = linked("3600").config.unwrap().links.isolation;
    assert_eq!(isolation, Some(Duration::from_secs(3_600)));
    let (config, _) = good(&text_of("{links: {us: {url: 'redis://r'}}}"), &STORES);
    assert_eq!(config.links.isolation, None);
    for bad in ["0", "1h", "2592001"] {
        let loaded = linked(bad);
        let problems = shown(&loaded).join("\n");
        assert!(loaded.config.is_none(), "{bad}");
        let named = "c.yaml:3";
        assert!(problems.contains(named), "{problems}");
        assert!(
            problems.contains("meridian.regions.isolation_s"),
            "{problems}"
        );
        assert!(problems.contains("from 1 to 2592000"), "{problems}");
    }
    let (config, problems) = good(&text_of("{isolation_s: 3600}"), &STORES);
    assert_eq!(config.links.isolation, None);
    let problems = format!("{problems:?}");
    assert!(problems.contains("no effect without `links`"), "{problems}");
}

#[test]
fn the_example_of_linked_regions_keeps_ceilings() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/linked.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let variables = [
        STORES[0],
        STORES[1],
        ("REDIS_PASSWORD", "p"),
        ("OPENAI_API_KEY", "k"),
        ("LITELLM_MASTER_KEY", "sk-0123456789abcdef"),
    ];
    let (config, _) = good(&text, &variables);
    assert_eq!(config.links.peers.len(), 2);
    assert!(config.links.isolation.is_some());
}
