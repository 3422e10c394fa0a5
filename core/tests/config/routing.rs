//! Everything that a configuration says about routing: what it resolves to, what is wrong with it.

use meridian_core::routing::policy::{
    AffinityPolicy, AllCooling, CooldownPolicy, HedgePolicy, PolicyError, ProbePolicy, TagMatch,
};

use super::*;

/// Models `m`, `n` and `o`, and whatever else.
pub(super) fn with_models(rest: &str) -> String {
    let model = |name: &str| {
        format!("{{model_name: {name}, litellm_params: {{model: mock/x, tags: [{name}]}}}}")
    };
    let list = ["m", "n", "o"].map(model).join(", ");
    let key = if rest.starts_with("general_settings") {
        ""
    } else {
        KEY
    };
    format!("{key}model_list: [{list}]\n{rest}")
}

fn routing(rest: &str) -> (meridian_core::routing::policy::RoutingPolicy, Vec<String>) {
    let (config, problems) = good(&with_models(rest), &[]);
    (config.routing, problems)
}

pub(super) fn quiet(rest: &str) -> meridian_core::routing::policy::RoutingPolicy {
    let (policy, problems) = routing(rest);
    assert_eq!(problems, Vec::<String>::new(), "{rest}");
    policy
}

#[test]
fn a_configuration_that_says_nothing_has_litellms_defaults() {
    let policy = quiet("");
    assert_eq!(policy.strategy, Strategy::SimpleShuffle);
    assert_eq!(
        (policy.retries.retries, policy.retries.attempts_max),
        (2, 6)
    );
    assert_eq!(policy.retries.pause_min, Duration::ZERO);
    assert_eq!(policy.cooldown.time, Duration::from_secs(5));
    assert_eq!(
        (policy.cooldown.allowed_fails, policy.cooldown.disabled),
        (None, false)
    );
    assert_eq!(policy.fallbacks.depth_max, 5);
    assert_eq!((policy.tags, policy.pre_call_checks), (None, false));
    assert_eq!(policy.affinity, AffinityPolicy::Off);
    assert_eq!((policy.hedge, policy.probes), (None, None));
    assert_eq!(policy.regions.own, None);
}

#[test]
fn every_strategy_has_litellms_name_and_a_group_its_own() {
    for (name, strategy) in [
        ("simple-shuffle", Strategy::SimpleShuffle),
        ("least-busy", Strategy::LeastBusy),
        ("usage-based-routing-v2", Strategy::UsageBased),
        ("cost-based-routing", Strategy::CostBased),
        (
            "latency-based-routing",
            Strategy::LatencyBased(LatencyArgs::default()),
        ),
    ] {
        let policy = quiet(&format!("router_settings: {{routing_strategy: {name}}}"));
        assert_eq!(policy.strategy, strategy);
    }
    let (old, problems) = routing("router_settings: {routing_strategy: usage-based-routing}");
    assert_eq!(old.strategy, Strategy::UsageBased);
    assert!(problems[0].contains("notice: router_settings.routing_strategy: served as"));

    let policy = quiet(
        "router_settings:\n  routing_strategy: latency-based-routing\n  \
         routing_strategy_args: {lowest_latency_buffer: 0.5}\n  \
         model_group_alias: {best: o}\n  routing_groups:\n  \
         - {group_name: g, models: [n, best], routing_strategy: cost-based-routing}\n\
         meridian: {latency_decay_s: 2.5}\n",
    );
    let args = LatencyArgs {
        decay: Duration::from_millis(2_500),
        buffer: 0.5,
    };
    assert_eq!(policy.strategy, Strategy::LatencyBased(args));
    let of_group: Vec<_> = policy.strategy_of_group.iter().collect();
    let cost = &Strategy::CostBased;
    assert_eq!(of_group, [(&"n".to_owned(), cost), (&"o".to_owned(), cost)]);
}

#[test]
fn cooldowns_come_from_litellms_keys_and_ours() {
    let CooldownPolicy {
        disabled,
        allowed_fails,
        allowed_fails_of,
        min_samples,
        failure_rate,
        window,
        time,
        time_max,
        ramp,
        all_cooling,
    } = quiet(
        "litellm_settings: {allowed_fails: 9}\n\
         router_settings: {disable_cooldowns: true, allowed_fails: 3, cooldown_time: 0.5, \
         allowed_fails_policy: {RateLimitErrorAllowedFails: 7, TimeoutErrorAllowedFails: '0'}}\n\
         meridian: {cooldown: {min_samples: 10, failure_rate: 0.2, window_s: 30, time_max_s: 60, \
         ramp_s: 0, all_cooling: wait, wait_s: 1.5}}\n",
    )
    .cooldown;
    assert_eq!((disabled, allowed_fails, min_samples), (true, Some(3), 10));
    let of_kinds = [(PolicyError::Timeout, 0), (PolicyError::RateLimit, 7)];
    assert_eq!(allowed_fails_of, BTreeMap::from(of_kinds));
    assert!((failure_rate - 0.2).abs() < f64::EPSILON);
    let seconds = |seconds| Duration::from_secs_f64(seconds);
    assert_eq!((time, time_max), (seconds(0.5), seconds(60.0)));
    assert_eq!((window, ramp), (seconds(30.0), Duration::ZERO));
    assert_eq!(all_cooling, AllCooling::Wait(seconds(1.5)));

    let longer = quiet("router_settings: {cooldown_time: 400}").cooldown;
    assert_eq!(longer.time_max, longer.time);
    let counted = quiet("litellm_settings: {allowed_fails: 9}").cooldown;
    assert_eq!(counted.allowed_fails, Some(9));
    let refuse = quiet("meridian: {cooldown: {all_cooling: refuse}}").cooldown;
    assert_eq!(refuse.all_cooling, AllCooling::Refuse);
    let (three, problems) = routing("router_settings: {allowed_fails: 3}");
    assert_eq!(three.cooldown.allowed_fails, None);
    assert!(problems[0].contains("notice: router_settings.allowed_fails: 3 is the same as not"));
}

#[test]
fn retries_come_from_litellms_keys_and_ours() {
    let retries = quiet(
        "litellm_settings: {num_retries: 9}\n\
         router_settings: {num_retries: 4, retry_after: 2, \
         retry_policy: {BadRequestErrorRetries: 0, InternalServerErrorRetries: 5}, \
         model_group_retry_policy: {m: {RateLimitErrorRetries: 1}}}\n\
         meridian: {max_attempts: 3, retry_budget: 1}\n",
    )
    .retries;
    assert_eq!((retries.retries, retries.attempts_max), (4, 3));
    assert_eq!(retries.pause_min, Duration::from_secs(2));
    assert!((retries.budget - 1.0).abs() < f64::EPSILON);
    let of_kinds = [
        (PolicyError::BadRequest, 0),
        (PolicyError::InternalServer, 5),
    ];
    assert_eq!(retries.retries_of, BTreeMap::from(of_kinds));
    let of_m = BTreeMap::from([(PolicyError::RateLimit, 1)]);
    assert_eq!(
        retries.retries_of_group,
        BTreeMap::from([("m".to_owned(), of_m)])
    );
    let shared = quiet("litellm_settings: {num_retries: 9}");
    assert_eq!(shared.retries.retries, 9);
}

#[test]
fn fallbacks_are_read_in_both_spellings_and_the_first_list_of_a_model_counts() {
    let (policy, problems) = routing(
        "litellm_settings: {fallbacks: [{o: [m]}], content_policy_fallbacks: [{m: n}]}\n\
         router_settings:\n  fallbacks: [{m: [n, o], '*': o}, {model: n, fallback_models: [m]}, \
         {m: [o]}]\n  default_fallbacks: [m]\n  context_window_fallbacks: [{n: [o, gone]}]\n  \
         max_fallbacks: 2\n",
    );
    let to = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>()
    };
    let general = &policy.fallbacks.general;
    assert_eq!(general["m"], to(&["n", "o"]));
    assert_eq!((&general["n"], &general["*"]), (&to(&["m"]), &to(&["o"])));
    assert_eq!(general.len(), 3, "the router's list wins");
    assert_eq!(policy.fallbacks.context_window["n"], to(&["o", "gone"]));
    assert_eq!(policy.fallbacks.content_policy["m"], to(&["n"]));
    assert_eq!(policy.fallbacks.depth_max, 2);
    let said = problems.join("\n");
    for part in [
        "fallbacks: no effect: `m` has fallbacks above",
        "default_fallbacks: no effect: `*` has fallbacks above",
        "c.yaml:7:38: warning: router_settings.context_window_fallbacks: no model `gone`",
        "write `n: [...]`",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert_eq!(problems.len(), 4, "{said}");
    let circle = quiet("router_settings: {fallbacks: [{m: [n]}, {n: [m]}], default_fallbacks: o}");
    assert_eq!(circle.fallbacks.general["*"], to(&["o"]));
    let (aliased, problems) = routing(
        "router_settings: {model_group_alias: {best: m, next: n}, fallbacks: [{best: [next]}]}",
    );
    assert_eq!(aliased.fallbacks.general["m"], to(&["n"]));
    let said = "notice: router_settings.fallbacks: `best` is an alias: this holds for `m`";
    assert!(
        problems.len() == 1 && problems[0].contains(said),
        "{problems:?}"
    );
    let off = quiet("router_settings: {fallbacks: [{m: [n]}], max_fallbacks: 0}").fallbacks;
    assert!(off.general.is_empty() && off.depth_max == 5);
}

#[test]
fn tags_affinity_hedges_and_probes_are_off_until_they_are_asked_for() {
    let policy = quiet(
        "general_settings: {master_key: sk-0123456789abcdef, background_health_checks: true, \
         health_check_interval: 60}\n\
         router_settings: {enable_tag_filtering: true, tag_filtering_match_any: false, \
         enable_pre_call_checks: true, optional_pre_call_checks: [prompt_caching]}\n\
         meridian: {hedge: {after_s: 0.8, share_max: 0.1, cost_max_usd: 0.5}, \
         probes: {timeout_s: 3, billed_usd_per_day: 2}}\n",
    );
    assert_eq!(
        (policy.tags, policy.pre_call_checks),
        (Some(TagMatch::All), true)
    );
    let affinity = AffinityPolicy::On {
        prefix_bytes: 4_096,
        load_max: 1.25,
    };
    assert_eq!(policy.affinity, affinity);
    let hedge = HedgePolicy {
        after: Duration::from_millis(800),
        share_max: 0.1,
        cost_max: NanoUsd(500_000_000),
    };
    assert_eq!(policy.hedge, Some(hedge));
    let probes = ProbePolicy {
        every: Duration::from_secs(60),
        timeout: Duration::from_secs(3),
        billed_per_day: Some(NanoUsd(2_000_000_000)),
    };
    assert_eq!(policy.probes, Some(probes));
    let own = quiet("meridian: {affinity: {load_max: 2}}").affinity;
    let AffinityPolicy::On { load_max, .. } = own else {
        panic!("{own:?}")
    };
    assert!((load_max - 2.0).abs() < f64::EPSILON);
    let any = quiet("router_settings: {enable_tag_filtering: true}").tags;
    assert_eq!(any, Some(TagMatch::Any));
}

#[test]
fn a_deployment_has_limits_order_tags_and_a_region() {
    let text = format!(
        "{KEY}model_list:\n  - model_name: m\n    tpm: 70\n    litellm_params: {{model: mock/x, \
         rpm: 6, max_parallel_requests: 2, order: 1, cooldown_time: 0.5, tags: [paid], \
         region_name: eu-west-1, allowed_regions: [eu-west-1, eu-central-1]}}\n    \
         model_info: {{max_input_tokens: 100, disable_background_health_check: true}}\n  \
         - {{model_name: m, litellm_params: {{model: mock/y}}, model_info: {{blocked: true, \
         order: 2}}}}\n\
         router_settings: {{default_max_parallel_requests: 9}}\n\
         meridian: {{default_region: us-east-1}}\n"
    );
    let (config, problems) = good(&text, &[]);
    assert_eq!(problems, Vec::<String>::new());
    let [first, second] = &config.models[..] else {
        panic!()
    };
    assert_eq!(
        (first.rpm, first.tpm, first.order),
        (Some(6), Some(70), Some(1))
    );
    assert_eq!(first.cooldown_time, Some(Duration::from_millis(500)));
    assert_eq!(
        (&*first.tags, first.max_input_tokens),
        (&["paid".to_owned()][..], Some(100))
    );
    assert_eq!((first.blocked, first.probed), (false, false));
    assert_eq!(
        (second.blocked, second.probed, second.order),
        (true, true, Some(2))
    );
    let parallel = [first, second].map(|one| one.max_parallel_requests);
    assert_eq!(parallel, [Some(2), Some(9)]);
    let regions = [first, second].map(|one| one.region_name.as_deref());
    assert_eq!(regions, [Some("eu-west-1"), Some("us-east-1")]);
    let allowed: Vec<_> = config.routing.regions.allowed_of_group["m"]
        .iter()
        .collect();
    assert_eq!(allowed, ["eu-central-1", "eu-west-1"]);
    assert!(
        first.default_params.is_empty(),
        "{:?}",
        first.default_params
    );
}

/// What is written after the models, and the one problem it gives.
type Mistake = (&'static str, &'static str);

const IN_ROUTER_SETTINGS: &[Mistake] = &[
    (
        "router_settings: {routing_strategy: weighted}",
        "c.yaml:3:37: error: router_settings.routing_strategy: no such strategy; did you mean \
         `simple-shuffle`?",
    ),
    (
        "router_settings: {routing_strategy_args: {lowest_latency_buffer: 1}}",
        "notice: router_settings.routing_strategy_args.lowest_latency_buffer: only `latency-",
    ),
    (
        "router_settings: {routing_strategy_args: {bufer: 1}}",
        "warning: router_settings.routing_strategy_args.bufer: unknown, no effect",
    ),
    (
        "router_settings: {routing_groups: [{models: [m]}]}",
        "error: router_settings.routing_groups[0].routing_strategy: required",
    ),
    (
        "router_settings: {routing_groups: [{routing_strategy: least-busy}]}",
        "error: router_settings.routing_groups[0].models: required",
    ),
    (
        "router_settings: {routing_groups: [{routing_strategy: least-busy, models: [m, m]}]}",
        "error: router_settings.routing_groups[0].models: `m` is in another group",
    ),
    (
        "router_settings: {routing_groups: [{routing_strategy: least-busy, models: [q]}]}",
        "warning: router_settings.routing_groups[0].models: no model `q`",
    ),
    (
        "router_settings: {routing_groups: [x]}",
        "error: router_settings.routing_groups[0]: expected a mapping",
    ),
    (
        "router_settings: {retry_policy: {RateLimitErrorRetires: 3}}",
        "retry_policy.RateLimitErrorRetires: unknown, no effect; did you mean \
         `RateLimitErrorRetries`?",
    ),
    (
        "router_settings: {retry_policy: {RateLimitErrorRetries: -1}}",
        "retry_policy.RateLimitErrorRetries: expected a whole number of at least 0, got `-1`",
    ),
    (
        "router_settings: {retry_policy: 3}",
        "error: router_settings.retry_policy: expected a mapping such as",
    ),
    (
        "router_settings: {retry_policy: {DefaultRetries: 3}}",
        "warning: router_settings.retry_policy.DefaultRetries: not in this version yet",
    ),
    (
        "router_settings: {model_group_retry_policy: {m: [1]}}",
        "error: router_settings.model_group_retry_policy.m: expected a mapping such as",
    ),
    (
        "router_settings: {allowed_fails_policy: [1]}",
        "error: router_settings.allowed_fails_policy: expected a mapping, got a list",
    ),
    (
        "router_settings: {fallbacks: [m]}",
        "error: router_settings.fallbacks: expected `model: [other model, ...]`",
    ),
    (
        "router_settings: {fallbacks: [{m: [{model: n}]}]}",
        "error: router_settings.fallbacks: expected the name of a model",
    ),
    (
        "router_settings: {tag_filtering_match_any: true}",
        "warning: router_settings.tag_filtering_match_any: no effect without",
    ),
    (
        "router_settings: {optional_pre_call_checks: [prompt_cache]}",
        "warning: router_settings.optional_pre_call_checks: `prompt_cache`: unknown",
    ),
    (
        "router_settings: {optional_pre_call_checks: [router_budget_limiting]}",
        "`router_budget_limiting`: budgets of deployments are not enforced",
    ),
];

const IN_MERIDIAN: &[Mistake] = &[
    (
        "meridian: {cooldown: {failure_rate: 50}}",
        "error: meridian.cooldown.failure_rate: expected a share from 0 to 1, got `50`",
    ),
    (
        "meridian: {cooldown: {all_cooling: fail}}",
        "expected one of least-bad, wait, refuse, got `fail`",
    ),
    (
        "meridian: {cooldown: {wait_s: 3}}",
        "warning: meridian.cooldown.wait_s: no effect: only `all_cooling: wait` waits",
    ),
    (
        "router_settings: {cooldown_time: 9}\nmeridian: {cooldown: {time_max_s: 8}}",
        "c.yaml:4:35: error: meridian.cooldown.time_max_s: shorter than \
         `router_settings.cooldown_time`, 9 s",
    ),
    (
        "meridian: {latency_decay_s: 0}",
        "error: meridian.latency_decay_s: must be more than 0",
    ),
    (
        "meridian: {affinity: {load_max: 0.5}}",
        "error: meridian.affinity.load_max: expected a number of at least 1",
    ),
    (
        "meridian: {hedge: {share_max: 0.5}}",
        "error: meridian.hedge.after_s: required: seconds, more than 0",
    ),
    (
        "meridian: {probes: {timeout_s: 5}}",
        "warning: meridian.probes: no effect without `general_settings.background_health",
    ),
    (
        "meridian: {max_attempts: 0}",
        "error: meridian.max_attempts: expected a whole number from 1 to 100, got `0`",
    ),
    (
        "meridian: {default_region: eu west}",
        "error: meridian.default_region: expected a region name such as `eu-west-1`",
    ),
    (
        "meridian: {regions: {nearest: [a, b]}}",
        "warning: meridian.regions.nearest: no effect: start with `--region NAME`",
    ),
    (
        "meridian: {default_region: a, regions: {nearest: [b, a]}}",
        "error: meridian.regions.nearest: `a` is this node's own region",
    ),
    (
        "meridian: {default_region: a, regions: {nearest: [b, b]}}",
        "error: meridian.regions.nearest: `b` is listed twice",
    ),
    (
        "meridian: {default_region: a, regions: {nearest: {a: [b c]}}}",
        "error: meridian.regions.nearest.a: expected a region name",
    ),
];

#[test]
fn each_wrong_value_is_one_problem_at_its_place_that_says_what_would_be_right() {
    for (rest, expected) in IN_ROUTER_SETTINGS.iter().chain(IN_MERIDIAN) {
        let found = shown(&load_text(&with_models(rest)));
        assert_eq!(found.len(), 1, "{rest}: {found:#?}");
        assert!(found[0].contains(expected), "{rest}: {found:#?}");
    }
}
